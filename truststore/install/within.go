package install

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// within is where path leads inside of root, as a process would see it to whom
// root is "/": no link leads out. What is missing at the end stays as it is
// written. root "" is this machine, whose links the kernel follows.
func within(root, path string) (string, error) {
	if root == "" || filepath.Clean(root) == "/" {
		return filepath.Clean(path), nil
	}
	rest := strings.Split(filepath.Clean("/"+path), "/")
	at, links := "/", 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, part)
		info, err := os.Lstat(filepath.Join(root, next))
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > 40 {
			return "", fmt.Errorf("%s in %s leads through too many links", path, root)
		}
		to, err := os.Readlink(filepath.Join(root, next))
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(to) {
			at = "/"
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return filepath.Join(root, at), nil
}
