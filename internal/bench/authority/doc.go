// Command authority measures an authority as it is in use: the real program in a
// process of its own, on SQLite, with callers that join and renew over loopback. It
// tells how many a second, how long one takes, where that time goes, and what
// memory an idle authority and an idle agent take.
//
//	make bench
//	go run ./internal/bench/authority -program bin/mutual -callers 32 -requests 2000
//	go run ./internal/bench/authority -program "" -cpuprofile cpu.out && go tool pprof -top cpu.out
package main
