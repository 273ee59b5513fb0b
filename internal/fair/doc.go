// Package fair shares a bounded number of places between hosts, so that none of
// them keeps the others out.
//
// Whoever has not proven yet who it is can be told apart by its address alone, and
// costs a place until it has. While there are places everybody has one. When they
// are all taken, a host that holds few takes one from the host that holds most, and
// that one's own newcomers wait. What is done in a place is its holder's business.
package fair
