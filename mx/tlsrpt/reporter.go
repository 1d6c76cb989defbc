package tlsrpt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

// Reporter collects how TLS went in the sessions with the hosts of each domain, and sends a report once a day to the
// domains that want one. Record collects, and Run sends. From must be set. Fields must not change after the first call
// of a method. All methods may be called concurrently.
type Reporter struct {
	// From is the address in the From field and the reverse-path of the mails, for reports alone: the sessions for mail
	// from this address are in no report (RFC 8460 §3), also if Relay.Wrap changes the reverse-path. Its domain is the
	// submitter of the reports. It must sign its mail by DKIM: receivers ignore other reports.
	From string

	// Organization is the name of the organization that reports. If empty, the domain of From.
	Organization string

	// Contact is how to reach the organization about reports. If empty, From.
	Contact string

	// Sender sends or queues the mails. If nil, reports go to web servers only.
	Sender smtp.Sender

	// HTTP uploads reports to the URLs that domains name. If nil, a client that follows no redirect, and connects to
	// public addresses only, unless AllowPrivate is set: anyone can name a server behind a firewall. In either case, an
	// upload takes 1 minute at most.
	HTTP *http.Client

	// AllowPrivate allows uploads to addresses of this machine and of private and reserved networks. It has no effect
	// if HTTP is set.
	AllowPrivate bool

	// Resolver looks up the TXT records, and the addresses of web servers. If nil, a zero [dns.Resolver], which asks
	// the system's name servers.
	Resolver Resolver

	// Store keeps over restarts what was recorded. If nil, it is lost with the process. Run reads it at its start, and
	// writes it a minute after a change and at its end: a crash loses what was recorded in the last minute.
	Store Store

	// SendingIP is the public address of this machine. It is in the reports in place of an address of a private network
	// or of this machine, behind a NAT for example. If it isn't valid, such sessions have none.
	SendingIP netip.Addr

	// CountReused counts a session once for each message that it is used for. If false, it counts once, for the domain
	// for which it was opened. A session that several domains share isn't in the reports to the other ones then.
	CountReused bool

	// MaxDomains bounds the domains of a day. Sessions with hosts of further domains aren't recorded; their number is
	// logged. If zero, 10,000.
	MaxDomains int

	// MaxDetails bounds the kinds of failures of a domain on a day, each with its hosts, addresses and codes. Further
	// failures are counted by their type alone. If zero, 100. The maximum is that of [MaxDetails].
	MaxDetails int

	// Spread is the time after midnight in UTC in which reports are sent, each at a random moment. If zero, 4 hours
	// (RFC 8460 §4.1), if negative, at once.
	Spread time.Duration

	// Logger logs reports that the Sender or a web server took (info), reports that couldn't be sent and sessions
	// beyond MaxDomains (warn), and failures of the Store (error). The key "report" has a report's ID. A Sender that
	// calls a Relay takes a report when it is queued: the Relay logs its delivery. If nil, nothing is logged.
	Logger *slog.Logger

	once     sync.Once
	resolver Resolver
	http     *http.Client
	wake     chan struct{} // has room for one: something changed that Run waits for

	mu      sync.Mutex
	days    map[string]*day
	dirty   map[string]time.Time // days to be saved, and when
	running bool
	sending int // reports that are being sent

	// These belong to Run.
	listed bool     // unread was read from the Store
	unread []string // days in the Store that aren't in days yet
}

// Resolver looks up records in the DNS, by the rules of mx.Resolver. A *[dns.Resolver] is a Resolver, and so is a
// *net.Resolver. An answer about a TXT record is used once: the Resolver may cache.
type Resolver interface {
	mx.Resolver

	// LookupTXT returns the TXT records of a name. The strings of one record are joined (RFC 8460 §3).
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

func (r *Reporter) prepare() {
	r.resolver = r.Resolver
	if r.resolver == nil {
		r.resolver = new(dns.Resolver)
	}
	r.http = r.HTTP
	if r.http == nil {
		r.http = r.client()
	}
	r.wake = make(chan struct{}, 1)
	r.days, r.dirty = make(map[string]*day), make(map[string]time.Time)
}

// Check returns an error for the first mistake in the fields, for a program that starts, and calls the Check of the
// Store if it has one.
func (r *Reporter) Check() error {
	_, domain := smtp.SplitAddress(r.From)
	err := smtp.NewEnvelope(r.From, r.From).Check()
	if err == nil && (domain == "" || domain[0] == '[' || smtp.NeedsUTF8(r.From)) {
		err = errors.New("want an address in ASCII, at a domain")
	}
	switch {
	case r.From == "":
		return errors.New("tlsrpt: From is empty: set it to an address for reports, such as tls-reports@example.com")
	case err != nil:
		return fmt.Errorf("tlsrpt: From %q: %w", r.From, err)
	case r.MaxDomains < 0:
		return fmt.Errorf("tlsrpt: MaxDomains is %d: set it to 0 or more", r.MaxDomains)
	case r.MaxDetails < 0:
		return fmt.Errorf("tlsrpt: MaxDetails is %d: set it to 0 or more", r.MaxDetails)
	case r.MaxDetails > MaxDetails:
		return fmt.Errorf("tlsrpt: MaxDetails is %d: set it to %d at most", r.MaxDetails, MaxDetails)
	}
	if store, ok := r.Store.(interface{ Check() error }); ok {
		return store.Check()
	}
	return nil
}

// Record collects the result of a session. It is a value for client.Transport.TLSResult. It does no I/O, except for the
// log once a day, if reports are dropped because they are too late.
func (r *Reporter) Record(ctx context.Context, result mx.TLSResult) {
	job, _ := smtp.JobOf(ctx) // a Sender such as that of bounce.VERP may have changed the reverse-path
	if result.Reused && !r.CountReused || result.Domain == "" ||
		sameAddress(result.From, r.From) || sameAddress(job.From, r.From) {
		return
	}
	r.once.Do(r.prepare)
	r.mu.Lock()
	defer r.mu.Unlock()
	name := dayName(time.Now())
	d := r.days[name]
	if d == nil {
		d = newDay()
		r.days[name] = d
		r.purge(ctx, time.Now()) // Run may not run, or wait for the Store
	}
	if t := d.of(result.Domain, cmp.Or(r.MaxDomains, 10_000)); t != nil {
		r.count(d, t, &result)
	}
	r.touch(name)
}

// sameAddress reports whether two addresses differ at most in the case of the domain.
func sameAddress(a, b string) bool {
	local, domain := smtp.SplitAddress(a)
	otherLocal, otherDomain := smtp.SplitAddress(b)
	return local == otherLocal && strings.EqualFold(domain, otherDomain)
}

// count adds a result to what is kept of a domain. r.mu is held.
func (r *Reporter) count(d *day, t *tally, result *mx.TLSResult) {
	policy := Policy{Type: NoPolicyFound, Domain: result.Domain}
	if f := result.Policy; f != nil {
		policy = Policy{Type: f.Type, Domain: cmp.Or(f.Domain, result.Domain), Lines: f.Lines, Hosts: f.Hosts}
	}
	failed := false
	for _, failure := range result.Failures {
		detail := Detail{Type: failure.Type, Code: failure.Code}
		if unknown, ok := unknownPolicy(failure.Type, result); ok {
			// The session itself counts for the policy that applied in place of this one.
			p := d.policy(t, unknown)
			p.Failures++
			d.fail(t, p, detail, 1, r.maxDetails())
			continue
		}
		p := d.policy(t, policy)
		if !failed {
			failed = true
			p.Failures++
		}
		detail.Host, detail.ReceivingIP, detail.SendingIP = result.Host, result.Remote, r.sendingIP(result.Local)
		if _, err := smtp.ASCIIDomain(result.Greeting); err == nil {
			detail.Greeting = result.Greeting
		}
		d.fail(t, p, detail, 1, r.maxDetails())
	}
	if !failed && result.Remote.IsValid() {
		d.policy(t, policy).Successes++
	}
}

// unknownPolicy returns an entry for a policy that couldn't be found out, if that is what a failure is about.
func unknownPolicy(failure string, result *mx.TLSResult) (p Policy, ok bool) {
	switch failure {
	case mx.STSPolicyFetchError, mx.STSPolicyInvalid, mx.STSWebPKIInvalid:
		return Policy{Type: STS, Domain: result.Domain}, true
	case mx.DNSSECInvalid:
		return Policy{Type: TLSA, Domain: result.Host}, true
	}
	return Policy{}, false
}

// sendingIP returns a local address as it may be in a report.
func (r *Reporter) sendingIP(local netip.Addr) netip.Addr {
	if local.IsGlobalUnicast() && !local.IsPrivate() {
		return local
	}
	return r.SendingIP
}

func (r *Reporter) maxDetails() int { return cmp.Or(r.MaxDetails, 100) }

// touch has a day saved soon. r.mu is held.
func (r *Reporter) touch(name string) {
	if _, ok := r.dirty[name]; ok || r.Store == nil {
		return
	}
	r.dirty[name] = time.Now().Add(saveInterval)
	r.rouse()
}

// rouse has Run look what there is to do.
func (r *Reporter) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Reporter) log() *slog.Logger { return guard.Logger(r.Logger) }
