package demo

import (
	"fmt"
	"io"
	"os"
)

// wellEnded is what the demo tells the keeper when its processes have ended.
const wellEnded = "done\n"

// Keep is the process that outlives the demo by a moment. It makes the folder,
// names it on out, and waits for the end of in, which is when the demo has ended
// or was killed. Then it takes the folder away, and what still runs with it: the
// processes of its own group.
//
// It makes the folder itself, so that it can never be told to remove another.
func Keep(in io.Reader, out io.Writer) error {
	ignoreSignals()
	dir, err := os.MkdirTemp("", "mutual-demo-") // 0700
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, dir)
	said := ""
	if err == nil {
		var b []byte
		b, err = io.ReadAll(io.LimitReader(in, 64))
		said = string(b)
	}
	for range 3 { // somebody may be writing to it for the last time
		if gone := os.RemoveAll(dir); gone == nil {
			break
		} else if err == nil {
			err = gone
		}
	}
	if said != wellEnded {
		killGroup()
	}
	return err
}
