// Package fair shares a bounded number of places between hosts, so that none of
// them keeps the others out.
//
// Whoever has not proven yet who it is can be told apart by its address alone, and
// costs a place until it has. While there are places everybody has one. When they
// are all taken, a host that holds few takes one from the host that holds most, and
// that one's own newcomers wait. Where hosts wait, a place goes to one that has few,
// and when no more can wait, whoever has most of those turns one of them away. What is
// done in a place is its holder's business.
package fair
