package api

import (
	"fmt"
	"strings"

	"github.com/mutual-tls/mutual/internal/code"
)

// ProblemType is the media type of a Problem (RFC 9457).
const ProblemType = "application/problem+json"

// Problem is why the authority did not do what it was asked to. It is an error,
// and travels as a problem document.
type Problem struct {
	Type   string `json:"type"` // "urn:mutual:M0904"
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail is one sentence about this case.
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Mend   string `json:"mend"`
	// ID finds the case in the authority's log.
	ID string `json:"id,omitempty"`
}

// NewProblem is a problem with a code's own title and mend.
func NewProblem(status int, c code.Code, detail string) *Problem {
	e, _ := code.Lookup(c)
	return &Problem{Type: "urn:mutual:" + string(c), Title: e.Title, Status: status, Detail: detail, Code: string(c), Mend: e.Mend}
}

// Error is the problem in one line. What came over the wire is for whoever holds
// the Problem to clean: see Client.
func (p *Problem) Error() string {
	return fmt.Sprintf("%s. %s (%s)", strings.TrimSuffix(p.Detail, "."), p.Mend, p.Code)
}
