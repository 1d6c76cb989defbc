package relayd

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server/dnsbl"
	"github.com/postrider/postrider/smtp"
)

// Flags are the settings of a relay, but for those of its queue.
type Flags struct {
	inbound
	state               string // what is kept beside the queue has this path, with .greylist for example
	hostname            string
	accept              []string
	allow               []netip.Prefix
	user, passwordFile  string
	cert, key           string
	dkimDomain          string
	dkimSelector        string
	dkimKey             string
	http                string // empty: no page
	routes              map[string]mx.Route
	resolver            mx.Resolver
	dane, mtaSTS        bool
	tlsReport           string // an address
	requireTLS          string // empty, strict or lax
	port                int
	allowPrivate        bool
	sources             []client.Source
	siteLimit           int             // 0: the default of delivery.Runner
	retry               []time.Duration // nil: the schedule of delivery.Runner
	maxAge, delayNotice time.Duration
}

// Parse adds the flags to those that set has, and parses args. It prints all of them and returns flag.ErrHelp if args
// ask for them. set has a flag named state, whose value is a path: what is kept beside the queue is named after it.
func Parse(set *flag.FlagSet, state string, args []string) (*Flags, error) {
	hostname, _ := os.Hostname()
	f := &Flags{
		routes: make(map[string]mx.Route),
		allow:  []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}
	set.SetOutput(io.Discard) // an error is one line, which main prints
	set.StringVar(&f.hostname, "hostname", hostname, "this machine's `name` in the DNS")
	set.StringVar(&f.listen, "listen", "127.0.0.1:2525", "accept mail on this `address`")
	set.StringVar(&f.submission, "submission", "", "accept mail from -user on this `address`, with STARTTLS")
	set.StringVar(&f.submissions, "submissions", "", "as -submission, at an `address` with TLS from the start")
	set.StringVar(&f.lmtp, "lmtp", "", "accept mail by LMTP on this `address`, or on the Unix socket at this path")
	set.Func("accept", "accept mail for this `domain` from anyone; repeatable", f.addDomain)
	set.Func("allow", "`networks` that may relay (default 127.0.0.0/8,::1/128)", f.setAllow)
	set.StringVar(&f.user, "user", "", "`name` of the only user, who submits mail by -submission or\n"+
		"-submissions; needs -password-file, -cert and -key")
	set.StringVar(&f.passwordFile, "password-file", "", "`file` with the password of -user")
	set.StringVar(&f.cert, "cert", "", "certificate `file` for STARTTLS; needs -key")
	set.StringVar(&f.key, "key", "", "key `file` of -cert")
	set.StringVar(&f.dkimDomain, "dkim-domain", "", "sign our mail from this `domain` and those below it; needs\n"+
		"-dkim-selector and -dkim-key")
	set.StringVar(&f.dkimSelector, "dkim-selector", "", "`name` of the key within -dkim-domain, such as 2026a")
	set.StringVar(&f.dkimKey, "dkim-key", "", "PEM `file` with the private key for DKIM, RSA or Ed25519")
	set.Int64Var(&f.maxSize, "max-size", 50<<20, "size of the largest mail in `bytes`")
	set.IntVar(&f.maxConns, "max-connections", 1000, "`number` of connections at a time")
	set.IntVar(&f.maxRecipients, "max-recipients", 1000, "`number` of recipients of a mail")
	set.Func("proxy", "`networks` of proxies, whose connections begin with a PROXY header", f.setProxies)
	set.Func("dnsbl", "refuse clients that this `zone` lists; repeatable", f.addZone)
	set.BoolVar(&f.greylist, "greylist", false,
		"answer the first mail of each client \"try again later\"; what is known of clients is in\n"+
			"the file PATH.greylist, where PATH is that of -"+state)
	set.BoolVar(&f.authResults, "auth-results", false,
		"check SPF, DKIM and DMARC, refuse mail as DMARC policies say, and add Authentication-Results")
	set.Func("milter", "have the filter at this `address` or Unix socket check mail; repeatable", f.addMilter)
	set.Func("http", "show the queue on a web page at this loopback `address`, such as 127.0.0.1:8025; with -user,\n"+
		"the page asks for that name and password", func(s string) error { f.http = s; return checkHTTP(s) })
	set.Func("route", "`domain=route`; a route is host:port, or several separated by commas, lmtp:host:port,\n"+
		"lmtp:/socket, discard or 'error:550 5.1.6 moved'; repeatable; * is for all other domains", f.addRoute)
	set.Func("smarthost", "`host:port` for all other mail, or several, tried in order: as -route '*=host:port'",
		func(s string) error { return f.addRoute("*=" + s) })
	set.Func("dns", "`host:port` of the name server to ask in place of the system's", f.setResolver)
	set.BoolVar(&f.dane, "dane", false,
		"demand the TLS that the DNS says, by DANE; the name servers must validate by\n"+
			"DNSSEC and be reached safely")
	set.BoolVar(&f.mtaSTS, "mta-sts", false, "obey the MTA-STS policies of domains, which demand TLS; they are kept\n"+
		"in the directory PATH.mta-sts, where PATH is that of -"+state)
	set.Func("require-tls", "send the mail of -user and -allow with REQUIRETLS, unless its header has\n"+
		"TLS-Required: No; `how` is strict or lax. strict: only to hosts that have REQUIRETLS, over\n"+
		"TLS with a verified certificate; other mail is returned; needs -dane or -mta-sts, except\n"+
		"for -route. lax: to all hosts that have TLS, since few have REQUIRETLS", f.setRequireTLS)
	set.StringVar(&f.tlsReport, "tls-report", "", "send daily reports on TLS to the domains that ask for them, from\n"+
		"this `address`, which nothing else may use; sign them by -dkim-key, or receivers\n"+
		"ignore them; what isn't reported yet is in the directory PATH.tls-reports, where\n"+
		"PATH is that of -"+state)
	set.IntVar(&f.port, "port", 25, "`port` of hosts that the DNS names")
	set.BoolVar(&f.allowPrivate, "allow-private", false, "hosts that the DNS names may have private addresses")
	set.Func("source", "send from this `address`, or IPv4,IPv6; repeatable: each mail goes out from one of them",
		f.addSource)
	set.IntVar(&f.siteLimit, "site-limit", 0, "largest `number` of messages at a time to the hosts of one\n"+
		"site, by all relays with the same queue in sum (default that of the library)")
	set.Func("retry", "`waits` between attempts, the last repeats (default 5m,15m,30m,1h,2h)", f.setRetry)
	set.DurationVar(&f.maxAge, "max-age", 120*time.Hour, "how long a mail is tried")
	set.DurationVar(&f.delayNotice, "delay-notice", 4*time.Hour,
		"age at which the sender of a waiting mail is told; negative: never")

	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		set.SetOutput(os.Stdout)
		set.PrintDefaults()
		return nil, err
	}
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if err != nil {
		return nil, fmt.Errorf("%w; -help lists the flags", err)
	}
	f.state = set.Lookup(state).Value.String()
	return f, f.check()
}

// check returns what is wrong with the flags together.
func (f *Flags) check() error {
	switch {
	case smtp.CheckAddress("postmaster@"+f.hostname) != nil:
		return fmt.Errorf("-hostname %q is no host name: set it to this machine's name in the DNS", f.hostname)
	case f.maxAge <= 0:
		return fmt.Errorf("-max-age is %v: want a positive duration, such as 120h", f.maxAge)
	case (f.cert == "") != (f.key == ""):
		return errors.New("-cert and -key need each other: give both or neither")
	case (f.dkimDomain == "") != (f.dkimKey == "") || (f.dkimDomain == "") != (f.dkimSelector == ""):
		return errors.New("-dkim-domain, -dkim-selector and -dkim-key need each other: give all or none")
	case f.requireTLS == "strict" && !f.dane && !f.mtaSTS && len(f.routes) == 0:
		return errors.New("-require-tls strict needs -dane or -mta-sts, to know which hosts are a domain's")
	case f.siteLimit < 0:
		return errors.New("-site-limit must be more than 0, or 0 for the default")
	case f.maxSize <= 0:
		return errors.New("-max-size must be more than 0")
	case f.port < 1 || f.port > 65535:
		return errors.New("-port must be from 1 to 65535")
	case f.maxConns <= 0 || f.maxRecipients <= 0:
		return errors.New("-max-connections and -max-recipients must be more than 0")
	case f.submission+f.submissions+f.user+f.passwordFile == "":
		return nil
	case f.submission+f.submissions == "" || f.user == "" || f.passwordFile == "" || f.cert == "":
		return errors.New("-submission or -submissions, -user and -password-file need one another, -cert and -key:" +
			" give all or none")
	}
	return nil
}

func (f *Flags) addDomain(s string) error {
	f.accept = append(f.accept, s)
	_, err := smtp.ASCIIDomain(s)
	return err
}

func (f *Flags) setAllow(s string) (err error) {
	f.allow, err = networks(s)
	return err
}

func (f *Flags) setProxies(s string) (err error) {
	f.proxies, err = networks(s)
	return err
}

func networks(s string) (list []netip.Prefix, err error) {
	for part := range strings.SplitSeq(s, ",") {
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, fmt.Errorf("%w; want networks such as 10.0.0.0/8,fd00::/8", err)
		}
		list = append(list, prefix)
	}
	return list, nil
}

func (f *Flags) addZone(s string) error {
	f.dnsbl = append(f.dnsbl, dnsbl.Zone{Name: s})
	_, err := smtp.ASCIIDomain(s)
	return err
}

func (f *Flags) addMilter(s string) error {
	f.milters = append(f.milters, s)
	return nil
}

func (f *Flags) addRoute(s string) (err error) {
	domain, to, ok := strings.Cut(s, "=")
	if !ok {
		return errors.New("want domain=route, such as example.net=mx.example.net:25")
	}
	if domain != "*" {
		if domain, err = smtp.ASCIIDomain(domain); err != nil {
			return err
		}
	}
	if _, twice := f.routes[domain]; twice {
		return fmt.Errorf("%s has a route already: give one for each domain", domain)
	}
	f.routes[domain], err = mx.ParseRoute(to)
	return err
}

func (f *Flags) setResolver(s string) (err error) {
	f.resolver, err = mx.NameServer(s)
	return err
}

func (f *Flags) setRequireTLS(s string) error {
	if s != "strict" && s != "lax" {
		return errors.New("want strict or lax")
	}
	f.requireTLS = s
	return nil
}

func (f *Flags) addSource(s string) error {
	var source client.Source
	for part := range strings.SplitSeq(s, ",") {
		addr, err := netip.ParseAddr(part)
		if err != nil {
			return fmt.Errorf("%w; want an address of this machine, or IPv4,IPv6", err)
		}
		source.Addrs = append(source.Addrs, addr)
	}
	f.sources = append(f.sources, source)
	return source.Check()
}

func (f *Flags) setRetry(s string) error {
	f.retry = nil
	for part := range strings.SplitSeq(s, ",") {
		wait, err := time.ParseDuration(part)
		if err != nil || wait <= 0 {
			return fmt.Errorf("%q is no positive duration; want waits such as 5m,15m,1h", part)
		}
		f.retry = append(f.retry, wait)
	}
	return nil
}
