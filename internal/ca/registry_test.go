package ca_test

import (
	"slices"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
)

func TestServicesAreFoundUntilTheyAreNotHeardOf(t *testing.T) {
	w := newWorld(t)
	one, _ := w.join("orders")
	two, _ := w.join("orders")
	_, err := w.Service(w.ctx, "orders")
	w.refused(err, code.ServiceUnknown)
	register := func(lineage string, addresses ...string) bool {
		t.Helper()
		changed := w.Changed()
		if err := w.Register(w.ctx, "orders", lineage, addresses); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}
	want := func(addresses ...string) {
		t.Helper()
		s, err := w.Service(w.ctx, "orders")
		if err != nil || s.Name != "orders" || !slices.Equal(s.Addresses, addresses) {
			t.Errorf("%+v, %v, expected %v", s, err, addresses)
		}
	}
	if !register(one.Lineage, "10.0.0.1:8443", "a.example:8443") {
		t.Error("nobody was told of a new service")
	}
	w.clock.move(time.Hour)
	if !register(two.Lineage, "10.0.0.2:8443", "a.example:8443") {
		t.Error("nobody was told of a second one")
	}
	want("10.0.0.2:8443", "a.example:8443", "10.0.0.1:8443")
	w.clock.move(time.Hour)
	if register(one.Lineage, "10.0.0.1:8443", "a.example:8443") {
		t.Error("a service that says the same again is no news")
	}
	want("10.0.0.1:8443", "a.example:8443", "10.0.0.2:8443")
	w.reopen()
	if !register(one.Lineage, "[::1]:8443") {
		t.Error("nobody was told of a new address")
	}
	want("[::1]:8443", "10.0.0.2:8443", "a.example:8443")
	w.clock.move(47*time.Hour + 30*time.Minute)
	want("[::1]:8443")
	w.clock.move(time.Hour)
	_, err = w.Service(w.ctx, "orders")
	w.refused(err, code.ServiceUnknown)
	if !register(one.Lineage, "[::1]:8443") {
		t.Error("nobody was told of a service that came back")
	}
}

func TestARegistrationIsItsHoldersAndHoldsAddresses(t *testing.T) {
	w := newWorld(t)
	web, _ := w.join("web")
	w.refused(w.Register(w.ctx, "orders", web.Lineage, []string{"10.0.0.1:1"}), code.NotTheHolder)
	w.refused(w.Register(w.ctx, "web", "none", []string{"10.0.0.1:1"}), code.NotTheHolder)
	for _, addresses := range [][]string{nil, slices.Repeat([]string{"10.0.0.1:1"}, 17), {"10.0.0.1"}, {"10.0.0.1:0"}, {":1"}, {"a b:1"}, {"a:70000"}, {"10.0.0.1:1", ""}} {
		w.refused(w.Register(w.ctx, "web", web.Lineage, addresses), code.RequestMalformed)
	}
}
