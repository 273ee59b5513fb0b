package gateway

import (
	"strings"
	"testing"
)

func TestWhatCameEarlyIsToldApart(t *testing.T) {
	const host = "Host: orders\r\n"
	for b, want := range map[string]struct {
		kind         earlyKind
		marked, rest string
	}{
		"GET / HTTP/1.1\r\n" + host + "\r\n":                      {safe, "GET / HTTP/1.1\r\nEarly-Data: 1\r\n" + host + "\r\n", ""},
		"HEAD /x HTTP/1.1\r\n\r\nGET":                             {safe, "HEAD /x HTTP/1.1\r\nEarly-Data: 1\r\n\r\n", "GET"},
		"OPTIONS * HTTP/1.1\r\n" + host + "\r\nPOST /":            {safe, "OPTIONS * HTTP/1.1\r\nEarly-Data: 1\r\n" + host + "\r\n", "POST /"},
		"GET / HTTP/1.1\r\nearly-data: 1\r\n\r\n":                 {safe, "GET / HTTP/1.1\r\nearly-data: 1\r\n\r\n", ""},
		"POST / HTTP/1.1\r\n" + host + "\r\n":                     {unsafe, "", ""},
		"DELETE / HTTP/1.1\r\n\r\n":                               {unsafe, "", ""},
		"get / HTTP/1.1\r\n\r\n":                                  {unsafe, "", ""},
		"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc":          {unsafe, "", ""},
		"GET / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\n\r\n0":   {unsafe, "", ""},
		"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n":            {unsafe, "", ""},
		"GET / HTTP/1.1\r\nHost: orders\r\n":                      {unclear, "", "all"},
		"GET / HTTP/1.0\r\n\r\n":                                  {unclear, "", "all"},
		"GET  / HTTP/1.1\r\n\r\n":                                 {unclear, "", "all"},
		"GET / HTTP/1.1\nEvil: 1\r\n\r\n":                         {unclear, "", "all"},
		"GET / HTTP/1.1\r\nA: b\r\n Content-Length: 3\r\n\r\nabc": {unclear, "", "all"},
		"GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc":         {unclear, "", "all"},
		"GET / HTTP/1.1\r\nA: b\nContent-Length: 3\r\n\r\nabc":    {unclear, "", "all"},
		"GET / HTTP/1.1\r\nA: b\rContent-Length: 3\r\n\r\nabc":    {unclear, "", "all"},
		"GET / HTTP/1.1\r\nno colon\r\n\r\n":                      {unclear, "", "all"},
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                        {unclear, "", "all"},
		"\x16\x03\x01\r\n\r\n":                                    {unclear, "", "all"},
		"\r\n\r\n":                                                {unclear, "", "all"},
		"":                                                        {unclear, "", "all"},
	} {
		if want.rest == "all" {
			want.rest = b
		}
		kind, marked, rest := markEarly([]byte(b))
		if kind != want.kind || string(marked) != want.marked || string(rest) != want.rest {
			t.Errorf("%q: %v, %q, %q", b, kind, marked, rest)
		}
	}
}

// FuzzEarlyRequest: what is marked is the head that came, with the one line more.
func FuzzEarlyRequest(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: orders\r\n\r\nrest")
	f.Add("POST / HTTP/1.1\r\n\r\n")
	f.Add("GET / HTTP/1.1\r\nEARLY-DATA: 1\r\n\r\n")
	f.Fuzz(func(t *testing.T, b string) {
		kind, marked, rest := markEarly([]byte(b))
		switch kind {
		case unclear:
			if string(rest) != b {
				t.Errorf("%q became %q", b, rest)
			}
		case safe:
			if !strings.Contains(strings.ToLower(string(marked)), "\r\nearly-data:") {
				t.Errorf("%q is not marked: %q", b, marked)
			}
			if got := strings.Replace(string(marked), "Early-Data: 1\r\n", "", 1) + string(rest); got != b && string(marked)+string(rest) != b {
				t.Errorf("%q became %q", b, got)
			}
		}
	})
}
