// Package ct judges the timestamps by which logs promise to publish a certificate
// (Certificate Transparency, RFC 6962): whether enough logs, of enough operators,
// have signed one for it.
//
// A [Policy] is a list of logs and a [Rule]. The list is a file that the operator
// gives, in the form in which Google and Apple publish theirs ([ParseLogs]). None is
// built in and nothing is fetched: a list is good for some weeks, and a program that
// carries one grows old with it. Whoever asks for timestamps has to see to a fresh file.
//
// What a timestamp proves is that a log has promised, and no more. That the
// certificate is in the log (inclusion, consistency) is not asked: auditors do that.
package ct
