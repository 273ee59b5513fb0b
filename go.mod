module github.com/mutual-tls/mutual

go 1.26
