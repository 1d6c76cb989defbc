package bounce

import "strings"

// readFeedback reads a feedback report (RFC 5965 §3).
func (d *document) readFeedback() *Notification {
	f := parseFields(d.feedback)
	original := parseFields(d.original)
	fb := &Feedback{
		Type:           strings.ToLower(f.get("Feedback-Type")),
		UserAgent:      f.get("User-Agent"),
		SourceIP:       strings.Trim(f.get("Source-IP"), "[] "),
		ReportedDomain: f.get("Reported-Domain"),
		MailFrom:       cleanAddress(f.get("Original-Mail-From")),
		EnvelopeID:     f.get("Original-Envelope-Id"),
		Arrival:        parseDate(f.get("Arrival-Date")),
	}
	if fb.Arrival.IsZero() {
		fb.Arrival = parseDate(f.get("Received-Date"))
	}
	if fb.Type == "" {
		fb.Type = "abuse"
	}
	n := &Notification{
		Kind: Complaint, Format: "rfc5965", Feedback: fb, EnvelopeID: fb.EnvelopeID, Arrival: fb.Arrival,
		OriginalHeader: nil,
	}
	_, n.ReportingMTA = typed(f.get("Reporting-MTA"))
	seen := make(map[string]bool)
	add := func(address string) {
		if name := strings.ToLower(address); !seen[name] {
			seen[name] = true
			n.add(RecipientStatus{Address: address})
		}
	}
	for _, field := range f {
		if field.name != "original-rcpt-to" && field.name != "removal-recipient" {
			continue
		}
		add(readAddress(unfold(field.value)))
	}
	if len(n.Recipients) == 0 {
		// RFC 5965 §3.2: Original-Rcpt-To is optional, and many providers leave it out or hide it.
		for _, name := range []string{"X-Original-To", "Delivered-To", "To"} {
			eachAddress(clip(original.get(name), maxLetterLine), func(_, _ int, address string) bool {
				add(address)
				return len(n.Recipients) < maxRecipients
			})
			if len(n.Recipients) > 0 {
				break
			}
		}
	}
	if len(n.Recipients) == 0 {
		add(tracedRecipient(original))
	}
	return n
}
