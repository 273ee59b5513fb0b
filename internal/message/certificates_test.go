package message

import (
	"bytes"
	"testing"
)

func TestWhatStandsBesideACertificateIsReadAsItIsMade(t *testing.T) {
	x := OCSPExtension([]byte{0x30, 3, 1, 2, 3})
	if got, err := x.OCSPResponse(); err != nil || !bytes.Equal(got, []byte{0x30, 3, 1, 2, 3}) {
		t.Errorf("%x, %v", got, err)
	}
	for _, bad := range [][]byte{nil, {1}, {1, 0, 0, 0}, {2, 0, 0, 1, 9}, {1, 0, 0, 2, 9}, {1, 0, 0, 1, 9, 9}} {
		if _, err := (&Extension{ExtStatusRequest, bad}).OCSPResponse(); err == nil {
			t.Errorf("%x is taken for a response", bad)
		}
	}
	want := [][]byte{{1}, {2, 3}}
	list, err := AppendSCTList(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := SCTList(list); err != nil || len(got) != 2 || !bytes.Equal(got[1], want[1]) {
		t.Errorf("%x, %v", got, err)
	}
	many, err := AppendSCTList(nil, make([][]byte, MaxSCTs+1))
	if err != nil {
		t.Fatal(err)
	}
	for i := range many[2:] {
		if i%3 == 1 {
			many[2+i] = 1
		}
	}
	for _, bad := range [][]byte{nil, {0, 0}, {0, 2, 0, 0}, {0, 4, 0, 3, 1, 1}, {0, 3, 0, 1, 1, 1}, many} {
		if _, err := SCTList(bad); err == nil {
			t.Errorf("%x is taken for a list", bad)
		}
	}
}
