// Package refusals tells a log of refusals, a sentence each, with what whoever
// looks for the reason needs beside it. A flood of them is a few lines and a count:
// who is refused must not be able to fill a disk.
package refusals
