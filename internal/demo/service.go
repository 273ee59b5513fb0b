package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Service is one of the two plain services: it knows nothing of TLS. It says on
// out where it listens, on loopback alone, and ends with ctx. orders is where web
// asks for orders.
func Service(ctx context.Context, name, orders string, out io.Writer) error {
	mux := http.NewServeMux()
	switch name {
	case "orders":
		mux.HandleFunc("GET /{number}", func(w http.ResponseWriter, r *http.Request) {
			what := order(r.PathValue("number"))
			if what == "" {
				http.Error(w, "orders have numbers", http.StatusNotFound)
				return
			}
			fmt.Fprintln(w, what)
		})
	case "web":
		mux.HandleFunc("GET /orders/{number}", func(w http.ResponseWriter, r *http.Request) {
			status, body, err := get(r.Context(), orders+"/"+r.PathValue("number"))
			if err != nil {
				http.Error(w, "web asked orders, and got no answer: "+err.Error(), http.StatusBadGateway)
				return
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "web heard from orders: "+body)
		})
	default:
		return fmt.Errorf("there is no service %q in the demo; it has orders and web", name)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, l.Addr()); err != nil {
		return err
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// order is what orders knows of an order, and nobody else; "" where there is none.
func order(number string) string {
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return ""
	}
	fruit := [...]string{"three pears", "a dozen plums", "one quince", "five figs"}
	return fmt.Sprintf("order %d is %s, paid", n, fruit[n%uint64(len(fruit))])
}
