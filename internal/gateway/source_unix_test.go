//go:build unix

package gateway

import (
	"bytes"
	"io"
	"path/filepath"
	"testing"
)

// What waits is taken at once, though nothing was said of how much it is.
func TestTheFirstReadTakesWhatIsThere(t *testing.T) {
	here, there := pair(t, "unix", filepath.Join(t.TempDir(), "s")) // where what is written is there when Write returns
	want := bytes.Repeat([]byte("x"), 14<<10)
	if _, err := there.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := there.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	s := sourceOf(here)
	b, n, err := s.next()
	if err != nil || n != len(want) || !bytes.Equal((*b)[:n], want) {
		t.Fatalf("%d bytes and %v came first, expected %d", n, err, len(want))
	}
	if b, n, err = s.next(); b != nil || n != 0 || err != io.EOF {
		t.Errorf("behind the end came %d bytes and %v", n, err)
	}
}
