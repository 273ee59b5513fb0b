// Package folder keeps what a program must not lose or show: private folders and
// files. A folder is its owner's alone (0700, files 0600), or it is refused with
// the command that mends it; a file is written whole or not at all; a lock holds
// off a second process until its holder ends, however it ends.
package folder
