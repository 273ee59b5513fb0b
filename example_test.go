package mutual_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"

	"github.com/mutual-tls/mutual"
	"github.com/mutual-tls/mutual/mtls/nethttp"
)

// A service that joins with a line, where it has not yet, and then serves "web"
// and nobody else, until Ctrl-C.
func ExampleServe() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	id, err := mutual.Join(ctx, os.Getenv("JOIN_LINE"))
	if err != nil {
		log.Fatal(err)
	}
	defer id.Close()
	hello := func(w http.ResponseWriter, r *http.Request) {
		caller, _ := nethttp.Peer(r)
		fmt.Fprintf(w, "hello %s\n", caller.Name())
	}
	log.Print(mutual.Serve(ctx, id, ":8443", http.HandlerFunc(hello), "web"))
}

// A program that joins with a line, and calls the service "orders" by its name.
func ExampleClient() {
	id, err := mutual.Join(context.Background(), os.Getenv("JOIN_LINE"))
	if err != nil {
		log.Fatal(err)
	}
	defer id.Close()
	resp, err := mutual.Client(id).Get("https://orders/")
	if err != nil {
		log.Fatal(err) // says who refused whom, why, and what mends it
	}
	defer resp.Body.Close()
	_ = resp.Write(os.Stdout)
}

// What is not HTTP is listened for and dialled: here with a greeting.
func ExampleListen() {
	ctx := context.Background()
	id, err := mutual.Open(ctx, "orders") // as an earlier Join left it
	if err != nil {
		log.Fatal(err)
	}
	defer id.Close()
	l, err := mutual.Listen(ctx, id, ":9443", "web")
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := l.AcceptConn()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer c.Close()
			caller, _ := c.Peer()
			fmt.Fprintf(c, "hello %s\n", caller.Name())
		}()
	}
}

// The other end of ExampleListen.
func ExampleDial() {
	ctx := context.Background()
	id, err := mutual.Open(ctx, "web")
	if err != nil {
		log.Fatal(err)
	}
	defer id.Close()
	c, err := mutual.Dial(ctx, id, "orders")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	var greeting, name string
	if _, err := fmt.Fscan(c, &greeting, &name); err != nil {
		log.Fatal(err) // a refusal by the service comes here
	}
	fmt.Println(greeting, name)
}
