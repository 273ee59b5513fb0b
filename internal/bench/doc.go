// Command bench measures mutual beside crypto/tls: in one process and one run,
// interleaved, so that whatever else the machine does meets both alike. What
// counts is the ratio of each round; the times themselves are this machine's.
//
//	make bench
//	go run ./internal/bench -run 'handshake.*mutual' -rounds 40 -cpuprofile cpu.out -only ours
package main
