package checktest_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/authres"
	"github.com/postrider/postrider/server/dnsbl"
	"github.com/postrider/postrider/server/early"
	"github.com/postrider/postrider/server/greylist"
	"github.com/postrider/postrider/server/internal/checktest"
	"github.com/postrider/postrider/server/milter"
	"github.com/postrider/postrider/server/ratelimit"
	"github.com/postrider/postrider/smtp/smtptest"
)

// settings are those of a check.
type settings interface{ Check() server.Check }

// checks returns the settings of each check of the library, as a user has them.
func checks(inet *smtptest.Network) map[string]settings {
	listed := []dnsbl.Zone{{Name: "bl.test", Answers: []dnsbl.Answer{{Addr: "127.0.0.2"}}}, {Name: "bl2.test"}}
	once := ratelimit.Rate{Messages: 1, Recipients: 2}
	return map[string]settings{
		"early":     &early.Rules{},
		"dnsbl":     &dnsbl.List{Zones: listed, Resolver: listing{}},
		"greylist":  &greylist.Policy{},
		"ratelimit": &ratelimit.Limiter{Network: once, Account: once, Sender: once},
		"authres":   &authres.Verifier{Resolver: listing{}},
		"milter":    &milter.Filter{Addr: "filter.test:1", DialContext: inet.DialContext, Failure: milter.Accept},
	}
}

// listing is a Resolver that lists everything, and returns records that are nil or empty.
type listing struct{}

func (listing) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{{}, netip.MustParseAddr("127.0.0.2")}, nil
}

func (listing) LookupTXT(_ context.Context, name string) ([]string, error) {
	return []string{"", "v=spf1 mx ptr a -all"}, nil
}

func (listing) LookupMX(context.Context, string) ([]*net.MX, error) { return []*net.MX{nil, {}}, nil }
func (listing) LookupAddr(context.Context, string) ([]string, error) {
	return []string{"", "\r\n"}, nil
}

// odd returns values in place of a good one that nobody should set.
func odd(good reflect.Value) (list []reflect.Value) {
	t := good.Type()
	as := func(v any) { list = append(list, reflect.ValueOf(v).Convert(t)) }
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		for _, n := range []int64{math.MinInt64, -1, 1, math.MaxInt64} {
			as(n)
		}
	case reflect.Uint8:
		as(uint8(255))
	case reflect.String:
		for _, s := range []string{" ", "\r\nX: y", "\x00", "é", "..", ":", strings.Repeat("x", 2000)} {
			as(s)
		}
	case reflect.Slice:
		list = append(list, reflect.MakeSlice(t, 3, 3))
		element := reflect.Zero(t.Elem())
		if good.Len() > 0 {
			element = good.Index(0)
		}
		for _, v := range odd(element) {
			list = append(list, reflect.Append(reflect.Zero(t), v))
		}
	case reflect.Struct:
		for field := range t.Fields() {
			if !field.IsExported() {
				continue
			}
			for _, v := range odd(good.FieldByIndex(field.Index)) {
				s := reflect.New(t).Elem()
				s.Set(good)
				s.FieldByIndex(field.Index).Set(v)
				list = append(list, s)
			}
		}
	}
	if t == reflect.TypeFor[netip.Prefix]() {
		list = append(list, reflect.ValueOf(netip.MustParsePrefix("::ffff:0.0.0.0/96")))
	}
	return list
}

// TestOddSettings sets each field of each check to values that nobody wants: a Fault that names the field, or a server
// that answers every client, and that refuses a client with all faults as it does without the odd value.
func TestOddSettings(t *testing.T) {
	for name, s := range checks(&smtptest.Network{}) {
		for field := range reflect.TypeOf(s).Elem().Fields() {
			if !field.IsExported() {
				continue
			}
			for i, value := range odd(reflect.ValueOf(s).Elem().FieldByIndex(field.Index)) {
				t.Run(fmt.Sprintf("%s/%s/%d", name, field.Name, i), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testSettings(t, name, field, value) })
				})
			}
		}
	}
}

func testSettings(t *testing.T, name string, field reflect.StructField, value reflect.Value) {
	inet := smtptest.NewNetwork(t)
	s := checks(inet)[name]
	reflect.ValueOf(s).Elem().FieldByIndex(field.Index).Set(value)
	check := s.Check()
	if check.Fault != nil {
		if text := check.Fault.Error(); !strings.Contains(strings.ToLower(text), strings.ToLower(strings.TrimSuffix(field.Name, "s"))) || !isLine(text) {
			t.Errorf("%+v: got Fault %q, want a line that names %s", value, text, field.Name)
		}
		return
	}
	srv := checktest.Start(t, check)
	for range 2 {
		for _, from := range []string{"198.51.100.7", "2001:db8::7"} {
			for _, c := range []*checktest.Client{srv.Dial(from).Hello("c.test"), srv.Dial(from).Hello("mx.test").Auth()} {
				if got := c.Mail("a@x.test", "b@y.test", "allowed@z.test"); len(got) < 2 || strings.Contains(strings.Join(got, " "), "4.3.0") {
					t.Errorf("%+v: got %q", value, got)
				}
				c.Ask("QUIT")
			}
		}
		time.Sleep(time.Hour / 2)
	}
	if name != "early" && name != "dnsbl" || field.Name == "Skip" || field.Name == "Threshold" || field.Name == "Zones" {
		return
	}
	c := srv.Dial("198.51.100.7")
	c.Send("EHLO 192.0.2.25") // before the greeting; the name is an address of the server without brackets
	c.Reply()
	c.Reply()
	want := "554 5.7.1"
	switch value.Interface() {
	case server.Defer:
		want = "451 4.7.1"
	case server.Tag, server.Tell:
		want = "250 2.1.5"
	}
	if got := checktest.Codes(c.Mail("a@x.test", "b@y.test")); got != want {
		t.Errorf("%+v: got %s of a client with faults, want %s", value, got, want)
	}
}

// isLine reports whether a text is one line without control characters.
func isLine(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}
