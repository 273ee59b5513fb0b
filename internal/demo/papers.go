package demo

import (
	"path/filepath"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
)

// papers are the certificates of the story, as PEM files in a folder that only
// its owner can enter.
type papers struct {
	dir, ca string
	list    []paper
}

// paper is one of them, for who reads the story.
type paper struct {
	Name string `json:"name"`
	File string `json:"file"`
	What string `json:"what"`
}

func (p *papers) cert(base string) string { return filepath.Join(p.dir, base+".crt") }
func (p *papers) key(base string) string  { return filepath.Join(p.dir, base+".key") }

func makePapers(dir string) (*papers, error) {
	ours, other := mint.Root("Demo Authority"), mint.Root("Another Authority")
	p := &papers{dir: dir, ca: filepath.Join(dir, "ca.crt")}
	if err := ours.WriteFile(p.ca); err != nil {
		return nil, err
	}
	p.list = append(p.list, paper{"ca", p.ca, "the authority that both services trust"})
	now := time.Now()
	for _, l := range []struct {
		base, what string
		leaf       *mint.Leaf
	}{
		{"orders", "the service that is called", ours.Leaf("orders")},
		{"web", "the service that calls, and is allowed to", ours.Leaf("web")},
		{"ops", "another name of the same authority", ours.Leaf("ops")},
		{"expired", "web, until an hour ago", ours.Leaf("web", mint.Valid(now.Add(-48*time.Hour), now.Add(-time.Hour)))},
		{"stranger", "web, says an authority that nobody here trusts", other.Leaf("web")},
	} {
		cert, _, err := l.leaf.WriteFiles(dir, l.base)
		if err != nil {
			return nil, err
		}
		p.list = append(p.list, paper{l.base, cert, l.what})
	}
	return p, nil
}
