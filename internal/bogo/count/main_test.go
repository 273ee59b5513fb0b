package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestResultsAreToldByVersion(t *testing.T) {
	var r results
	if err := json.Unmarshal([]byte(`{"tests": {
		"A-TLS13": {"actual": "PASS"}, "B-TLS13-QUIC": {"actual": "PASS"}, "C-TLS12-TLS": {"actual": "FAIL", "error": "panic: oh"},
		"D": {"actual": "SKIP"}, "E-DTLS": {"actual": "FAIL"}}}`), &r); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if bad := r.tell(&b); bad != 3 {
		t.Errorf("%d did not pass", bad)
	}
	got := strings.Join(strings.Fields(b.String()), " ")
	const want = "passed failed unimplemented QUIC 1 0 0 DTLS 0 1 0 TLS 1.3 1 0 0 TLS 1.2 and below 0 1 0 highest version 0 0 1 all 2 2 1 " +
		"crash: C-TLS12-TLS skip: D fail: E-DTLS"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
