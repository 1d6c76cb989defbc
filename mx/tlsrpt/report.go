package tlsrpt

import (
	"encoding/json"
	"net/netip"
	"time"
)

// The policy types of RFC 8460 §4.4, for [Policy].
const (
	STS           = "sts"
	TLSA          = "tlsa"
	NoPolicyFound = "no-policy-found"
)

// Report is an aggregate report about a domain (RFC 8460 §4.4).
type Report struct {
	// Organization is the name of the organization that reports, and Contact how to reach it.
	Organization, Contact string

	// Begin and End are the first and the last second that the report is about.
	Begin, End time.Time

	// ID is the same for the same report. It is chosen by the organization, without angle brackets.
	ID string

	Policies []Policy
}

// Policy is a policy that applied, and what became of the sessions to which it applied.
type Policy struct {
	// Type is STS, TLSA or NoPolicyFound. A received report may have another one.
	Type string

	// Lines are the lines of a policy of MTA-STS, or TLSA records as in a zone file. If empty, the policy isn't known.
	Lines []string

	// Domain is where the policy was found: for TLSA, the base domain of the records, which is a mail host.
	Domain string

	// Hosts are the patterns of MX hosts of a policy of MTA-STS.
	Hosts []string

	// Successes and Failures are numbers of sessions.
	Successes, Failures int64

	// Details are the kinds of failures. A session may be in several of them.
	Details []Detail
}

// Detail is a kind of failures. The fields that aren't known are zero.
type Detail struct {
	// Type is one of the result types of package mx, such as mx.CertificateExpired. A received report may have others.
	Type string

	SendingIP   netip.Addr
	ReceivingIP netip.Addr
	Host        string // the name in the MX record
	Greeting    string // the host's name for itself, in its reply to EHLO
	Code        string // a short text about the cause
	Info        string // a URI with more about it

	Sessions int64
}

// MarshalJSON returns the report by RFC 8460 §4.4.
func (r *Report) MarshalJSON() ([]byte, error) {
	w := wireReport{
		Organization: r.Organization, Contact: r.Contact, ID: r.ID,
		Range: wireRange{r.Begin.UTC().Format(time.RFC3339), r.End.UTC().Format(time.RFC3339)},
	}
	policies := make([]wirePolicy, len(r.Policies))
	for i := range r.Policies {
		var err error
		if policies[i], err = r.Policies[i].wire(); err != nil {
			return nil, err
		}
	}
	var err error
	if w.Policies, err = json.Marshal(policies); err != nil {
		return nil, err
	}
	return json.Marshal(w)
}

// wireReport, wirePolicy and wireDetail are the JSON of a report. Lists whose length has to be bounded are read later.
type wireReport struct {
	Organization string          `json:"organization-name"`
	Range        wireRange       `json:"date-range"`
	Contact      string          `json:"contact-info"`
	ID           string          `json:"report-id"`
	Policies     json.RawMessage `json:"policies"`
}

type wireRange struct {
	Begin string `json:"start-datetime"`
	End   string `json:"end-datetime"`
}

type wirePolicy struct {
	Policy struct {
		Type   string    `json:"policy-type"`
		Lines  wireTexts `json:"policy-string,omitempty"`
		Domain string    `json:"policy-domain"`
		Hosts  wireTexts `json:"mx-host,omitempty"`
	} `json:"policy"`
	Summary struct {
		Successes wireCount `json:"total-successful-session-count"`
		Failures  wireCount `json:"total-failure-session-count"`
	} `json:"summary"`
	Details json.RawMessage `json:"failure-details,omitempty"`
}

type wireDetail struct {
	Type        string    `json:"result-type"`
	SendingIP   string    `json:"sending-mta-ip,omitempty"`
	Host        string    `json:"receiving-mx-hostname,omitempty"`
	Greeting    string    `json:"receiving-mx-helo,omitempty"`
	ReceivingIP string    `json:"receiving-ip,omitempty"`
	Sessions    wireCount `json:"failed-session-count"`
	Info        string    `json:"additional-information,omitempty"`
	Code        string    `json:"failure-reason-code,omitempty"`
}

func (p *Policy) wire() (w wirePolicy, err error) {
	w.Policy.Type, w.Policy.Lines, w.Policy.Domain, w.Policy.Hosts = p.Type, p.Lines, p.Domain, p.Hosts
	w.Summary.Successes, w.Summary.Failures = wireCount(p.Successes), wireCount(p.Failures)
	if len(p.Details) == 0 {
		return w, nil
	}
	details := make([]wireDetail, len(p.Details))
	for i, d := range p.Details {
		details[i] = wireDetail{
			Type: d.Type, SendingIP: textOf(d.SendingIP), Host: d.Host, Greeting: d.Greeting,
			ReceivingIP: textOf(d.ReceivingIP), Sessions: wireCount(d.Sessions), Info: d.Info, Code: d.Code,
		}
	}
	w.Details, err = json.Marshal(details)
	return w, err
}

func textOf(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.WithZone("").String()
}
