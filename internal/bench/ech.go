package main

import (
	"crypto/ecdh"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"

	"github.com/mutual-tls/mutual/mtls"
)

// echKeys and echKey are one key for Encrypted Client Hello, as we and crypto/tls
// take it.
var echKeys, echKey = newECHKey()

func newECHKey() (*mtls.ECHKeys, tls.EncryptedClientHelloKey) {
	key, err := mtls.NewECHKey(mtls.ECHShape{PublicName: "public.internal", MaxNameLength: 32})
	if err != nil {
		panic(err)
	}
	keys, err := mtls.NewECHKeys([]*mtls.ECHKey{key})
	if err != nil {
		panic(err)
	}
	file, err := key.PEM()
	if err != nil {
		panic(err)
	}
	block, _ := pem.Decode(file)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	return keys, tls.EncryptedClientHelloKey{Config: key.ConfigList()[2:], PrivateKey: private.(*ecdh.PrivateKey).Bytes(), SendAsRetry: true}
}
