//go:build !unix

package gateway

func ownOnly() (restore func()) { return func() {} }
