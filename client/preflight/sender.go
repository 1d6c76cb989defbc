package preflight

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/postrider/postrider/internal/iprev"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/dmarc"
	"github.com/postrider/postrider/smtp/spf"
)

// Sender returns what is wrong with the DNS of the sender of a message, and with the settings of the Checker for it:
// SPF, DKIM keys, DMARC with its alignment, the names of the Sources, the hosts that take reports and answers, and TLS.
// It looks up records of the domains of the reverse-path, of From and of the signatures, and asks about no recipient.
//
// It returns when Timeout is over, or when ctx ends, at the latest: as soon as the Resolver returns. A lookup that
// failed is a Finding of the kind FailedLookup. A message without one valid From address has no sender: that is a
// Finding, too, as in Message.
func (c *Checker) Sender(ctx context.Context, env *smtp.Envelope, content smtp.Content) Findings {
	if f := c.settings(); f != nil {
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	s := &sender{message: message{checker: c, env: env}, resolver: c.resolver()}
	if env == nil {
		s.env = new(smtp.Envelope)
	}
	if _, ok := s.scan(content); !ok || !s.read(content) {
		return s.findings
	}
	s.findings = nil // Message has those of the form
	if s.from = s.fromDomain(); s.from == "" {
		s.checkFrom()
		if len(s.findings) == 0 {
			s.refuse(BadFrom, "From", "its address has no domain in the DNS", "use one of a domain of yours",
				"RFC 5322 §3.6.2")
		}
		return s.findings
	}
	s.checkTLS()
	s.checkSources(ctx)
	s.checkExchanges(ctx)
	s.checkSPF(ctx)
	s.checkKeys(ctx)
	s.checkDMARC(ctx)
	return s.findings
}

// sender is the sender of one message.
type sender struct {
	message
	resolver spf.Resolver
	from     string // the domain of From, as an A-label
	spf      dmarc.Identifier
	dkim     []dmarc.Identifier
}

func (s *sender) checkTLS() {
	if s.checker.TLS == mx.TLSNone {
		s.refuse(NoTLS, "Checker.TLS", "mail is sent without TLS", "set TLS to opportunistic or required", gmailPage)
	}
}

// failed reports a lookup that failed.
func (s *sender) failed(name string, err error) {
	s.warn(FailedLookup, name, err.Error(), "look again later; without an answer, receivers defer the mail", "")
}

// checkSources looks up the names of the sources, and back, and the address of Hostname.
func (s *sender) checkSources(ctx context.Context) {
	for _, ip := range s.checker.Sources {
		ip = ip.Unmap()
		switch _, outcome := iprev.Lookup(ctx, s.resolver, ip); outcome {
		case iprev.NoName:
			s.refuse(NoPTR, ip.String(), "it has no name (PTR) in the DNS",
				"have the owner of the address set one, Hostname as a rule", gmailPage+"; "+applePage)
		case iprev.Forged:
			s.refuse(ForgedPTR, ip.String(), "no name of it leads back to it", "give the name this address record",
				gmailPage)
		case iprev.Unknown:
			s.failed(ip.String(), errors.New("its name, or the address of that name, can't be looked up"))
		}
	}
	if s.checker.Hostname == "" {
		return
	}
	host, _ := smtp.ASCIIDomain(s.checker.Hostname)
	if _, err := s.addrs(ctx, host); isNotFound(err) {
		s.warn(BadHostname, host, "the name in EHLO has no address", "add an address record, or use another name",
			"RFC 5321 §4.1.4")
	} else if err != nil {
		s.failed(host, err)
	}
}

// addrs returns the addresses of a host. Without any, err is one for which isNotFound is true, or a failed lookup.
func (s *sender) addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	four, err := s.resolver.LookupNetIP(ctx, "ip4", host+".")
	six, err6 := s.resolver.LookupNetIP(ctx, "ip6", host+".")
	switch {
	case len(four)+len(six) > 0:
		return append(slices.Clone(four), six...), nil
	case err != nil && !isNotFound(err):
		return nil, err
	case err6 != nil && !isNotFound(err6):
		return nil, err6
	}
	return nil, &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
}

// checkExchanges looks whether reports and answers can arrive.
func (s *sender) checkExchanges(ctx context.Context) {
	domains := []string{s.from}
	if _, domain := smtp.SplitAddress(s.env.From); domain != "" {
		if ascii, err := smtp.ASCIIDomain(domain); err == nil && ascii != s.from && !strings.HasPrefix(ascii, "[") {
			domains = append(domains, ascii)
		}
	}
	for _, domain := range domains {
		records, err := s.resolver.LookupMX(ctx, domain+".")
		switch {
		case len(records) == 1 && strings.TrimSuffix(records[0].Host, ".") == "":
			s.refuse(NoMailExchange, domain, "it has a null MX: it takes no mail, so answers and reports can't arrive",
				"use a domain with an MX record", "RFC 7505 §4.2")
			continue
		case len(records) > 0:
			continue
		case err != nil && !isNotFound(err):
			s.failed(domain, err)
			continue
		}
		if _, err := s.addrs(ctx, domain); isNotFound(err) {
			s.refuse(NoMailExchange, domain, "it has neither MX nor address records: answers and reports can't arrive",
				"add an MX record", "RFC 5321 §5.1")
		} else if err != nil {
			s.failed(domain, err)
		}
	}
}

func isNotFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// testAddress is reserved (RFC 1112 §4): nobody has it, so no record should let it send.
var testAddress = netip.MustParseAddr("240.0.0.1")

// checkSPF evaluates the record of the reverse-path, or of Hostname if that is null, for each source.
func (s *sender) checkSPF(ctx context.Context) {
	_, domain := smtp.SplitAddress(s.env.From)
	if s.env.From == "" {
		domain = s.checker.Hostname
	}
	if !isDomain(domain) {
		return // a null reverse-path of which Hostname isn't known, or one without a domain, which Message reports
	}
	checker := &spf.Checker{Resolver: s.resolver, Timeout: s.checker.timeout()}
	evaluate := func(ip netip.Addr) spf.Result { return checker.Check(ctx, ip, s.checker.Hostname, s.env.From) }
	// One address that nobody has shows the faults of the record itself.
	test := evaluate(testAddress)
	s.spf = dmarc.Identifier{Domain: test.Domain, Pass: true}
	switch test.Code {
	case spf.None:
		s.spf.Pass = false
		s.refuse(NoSPF, domain, "it has no SPF record",
			`add a TXT record such as "v=spf1 ip4:`+s.exampleSource()+` -all"`,
			gmailPage+"; "+yahooPage+"; "+microsoftPage+"; "+applePage)
		return
	case spf.PermError:
		s.spf.Pass = false
		s.refuse(BadSPF, domain, test.Err.Error(), "correct the record", "RFC 7208 §2.6.7")
		return
	case spf.TempError:
		s.spf.Pass, s.spf.Temporary = false, true
		s.failed(domain, test.Err)
		return
	case spf.Pass:
		s.refuse(BadSPF, domain, fmt.Sprintf("%s lets every address send", clip(test.Mechanism)),
			"name your addresses, and end the record in -all", "RFC 7208 §11.1")
	}
	for _, ip := range s.checker.Sources {
		switch r := evaluate(ip); r.Code {
		case spf.Pass:
		case spf.TempError:
			s.spf.Pass, s.spf.Temporary = false, true
			s.failed(domain, r.Err)
		case spf.PermError: // a term that the test address didn't reach
			s.spf.Pass = false
			s.refuse(BadSPF, domain, r.Err.Error(), "correct the record", "RFC 7208 §2.6.7")
		default:
			s.spf.Pass = false
			s.refuse(SPFFail, domain, fmt.Sprintf("the result for %s is %s, by %s", ip, r.Code, clip(r.Mechanism)),
				"add the address to the record", "RFC 7208 §2.6.4; "+gmailPage+"; "+microsoftPage)
		}
	}
}

// exampleSource returns an address for a record.
func (s *sender) exampleSource() string {
	for _, ip := range s.checker.Sources {
		if ip.Unmap().Is4() {
			return ip.Unmap().String()
		}
	}
	return "192.0.2.1" // RFC 5737
}

// checkDMARC evaluates the policy of the domain of From for the identifiers that the checks before have found.
func (s *sender) checkDMARC(ctx context.Context) {
	evaluator := &dmarc.Evaluator{Resolver: s.resolver, Timeout: s.checker.timeout()}
	r := evaluator.Evaluate(ctx, dmarc.Message{From: []string{s.from}, SPF: s.spf, DKIM: s.dkim})
	switch r.Code {
	case dmarc.None:
		problem := "no DMARC record applies"
		if r.Err != nil {
			problem = r.Err.Error()
		}
		f := Finding{NoDMARC, Warning, "_dmarc." + s.from, problem, `add a TXT record such as "v=DMARC1; p=none; ` +
			`rua=mailto:dmarc@` + s.from + `"`, gmailPage + "; " + microsoftPage + "; " + applePage}
		if s.checker.Bulk {
			f.Severity = Refusal
		}
		s.add(f)
		s.compare()
	case dmarc.TempError:
		s.failed("_dmarc."+s.from, r.Err)
	case dmarc.PermError:
		s.refuse(BadDMARC, "_dmarc."+s.from, r.Err.Error(), "correct the record", "RFC 9989 §4.7")
	case dmarc.Fail:
		s.unaligned(fmt.Sprintf("; the policy of %s is %s", r.RecordDomain, r.Policy))
	}
	if r.Record != nil && r.Code != dmarc.PermError {
		s.parseDMARC(ctx, r.RecordDomain)
	}
}

// compare looks for alignment where no record says what is aligned: receivers then compare the domains themselves. A
// domain counts as aligned if it is equal, below or above.
func (s *sender) compare() {
	for _, id := range append(slices.Clone(s.dkim), s.spf) {
		if id.Temporary || id.Pass && (id.Domain == s.from || strings.HasSuffix(id.Domain, "."+s.from) ||
			strings.HasSuffix(s.from, "."+id.Domain)) {
			return
		}
	}
	s.unaligned("")
}

func (s *sender) unaligned(policy string) {
	var signed []string
	for _, id := range s.dkim {
		signed = append(signed, id.Domain)
	}
	spfDomain := s.spf.Domain
	if !s.spf.Pass {
		spfDomain += " (which SPF doesn't pass)"
	}
	s.refuse(Unaligned, "From", fmt.Sprintf(
		"%s is the domain neither of a good signature %q nor of the reverse-path %s%s",
		s.from, signed, spfDomain, policy), "sign with a key of that domain, or use a reverse-path there",
		"RFC 9989 §4.4; "+gmailPage+"; "+microsoftPage)
}

// parseDMARC looks at the record that applies: receivers replace what is wrong in it by defaults.
func (s *sender) parseDMARC(ctx context.Context, domain string) {
	texts, _ := s.resolver.LookupTXT(ctx, "_dmarc."+domain+".")
	for _, text := range texts {
		if record, err := dmarc.Parse(text); record != nil && err != nil {
			s.warn(BadDMARC, "_dmarc."+domain, err.Error(), "correct the record: receivers use defaults in its place",
				"RFC 9989 §4.7")
		}
	}
}
