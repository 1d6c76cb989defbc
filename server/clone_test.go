package server

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"reflect"
	"testing"
	"testing/synctest"
)

// TestClone: Clone copies each exported field and no other. It fails if a new field is forgotten in Clone.
func TestClone(t *testing.T) {
	srv := &Server{
		Hostname: "mx.test", Handler: &desk{}, TLSConfig: &tls.Config{}, Authenticate: authenticate,
		Checks: []Check{{Name: "c"}}, Names: &phoneBook{}, XClient: proxyNets, TempDir: "/tmp", Logins: &Logins{}, Found: func(context.Context, *Peer, Finding) {},
		StoredCredentials: stored, CheckToken: checkToken, SCRAMSecret: []byte("secret"),
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	from := reflect.ValueOf(srv).Elem()
	for f := range from.Type().Fields() {
		v := from.FieldByIndex(f.Index)
		if !f.IsExported() || !v.IsZero() {
			continue
		}
		switch f.Type.Kind() {
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(7)
		default:
			t.Fatalf("%s is of %s, which this test doesn't set: set it above", f.Name, f.Type)
		}
	}
	srv.draining.Store(true)
	srv.turned = 1
	srv.tls = srv.TLSConfig
	to := reflect.ValueOf(srv.Clone()).Elem()
	for f := range from.Type().Fields() {
		was, is := from.FieldByIndex(f.Index), to.FieldByIndex(f.Index)
		switch {
		case !f.IsExported():
			if !is.IsZero() {
				t.Errorf("%s: got it copied, want it zero", f.Name)
			}
		case f.Type.Kind() == reflect.Func, f.Type.Kind() == reflect.Slice:
			if was.Pointer() != is.Pointer() {
				t.Errorf("%s: got another one or none, want the same", f.Name)
			}
		case !was.Equal(is):
			t.Errorf("%s: got %v, want %v", f.Name, is, was)
		}
	}
}

// TestCloneServes: a Clone of a closed server can serve.
func TestCloneServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newWorld(t, &Server{})
		old.dial().take()
		old.srv.Shutdown(context.Background())
		<-old.stopped
		newWorld(t, old.srv.Clone()).dial().want(ehlo, "220", "250")
	})
}
