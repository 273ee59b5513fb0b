package main

import (
	"fmt"
	"io"
	"os"

	"github.com/mutual-tls/mutual/pki/ct"
)

// transparency is the policy over the list of logs in a file, Chrome's rule; nil
// where no file is named.
func transparency(file string) (*ct.Policy, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fail(exitFailed, fmt.Errorf("--ct-logs: %w", err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, ct.MaxLogList+1))
	if err != nil {
		return nil, fail(exitFailed, fmt.Errorf("--ct-logs: %w", err))
	}
	logs, err := ct.ParseLogs(b)
	if err != nil {
		return nil, fail(exitFailed, fmt.Errorf("--ct-logs %s: %w", file, err))
	}
	return ct.NewPolicy(logs, ct.Chrome)
}
