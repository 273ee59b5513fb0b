// Package policy says who may speak to whom. A policy is a list of rules, each a
// name or a pattern of names; a decision names the rule that made it, or says why
// none did. What no rule allows is refused.
//
// A policy judges names that were proven: it is asked after path validation, of
// the leaf that stood. It is immutable and safe for concurrent use.
package policy
