// Package agent keeps an identity fresh: it joins by a line, keeps key, chain and
// anchors in a folder, renews them with a new key before they end, and follows
// what the authority says of anchors, revocations and addresses. Whoever uses the
// identity sees it swapped under them, and is told when trust has changed.
//
// Several processes may share one identity's folder: one of them renews, and the
// others take what they find. Without the authority everything goes on until the
// certificate ends.
package agent
