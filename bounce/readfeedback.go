package bounce

import (
	"strings"

	"github.com/postrider/postrider/internal/mimetext"
)

// readFeedback reads a feedback report (RFC 5965 §3).
func (d *document) readFeedback() *Notification {
	f := mimetext.ReadFields(d.feedback)
	original := mimetext.ReadFields(d.original)
	fb := &Feedback{
		Type:           strings.ToLower(f.Get("Feedback-Type")),
		UserAgent:      f.Get("User-Agent"),
		SourceIP:       strings.Trim(f.Get("Source-IP"), "[] "),
		ReportedDomain: f.Get("Reported-Domain"),
		MailFrom:       cleanAddress(f.Get("Original-Mail-From")),
		EnvelopeID:     f.Get("Original-Envelope-Id"),
		Arrival:        mimetext.ReadDate(f.Get("Arrival-Date")),
	}
	if fb.Arrival.IsZero() {
		fb.Arrival = mimetext.ReadDate(f.Get("Received-Date"))
	}
	if fb.Type == "" {
		fb.Type = "abuse"
	}
	n := &Notification{
		Kind: Complaint, Format: "rfc5965", Feedback: fb, EnvelopeID: fb.EnvelopeID, Arrival: fb.Arrival,
		OriginalHeader: nil,
	}
	_, n.ReportingMTA = typed(f.Get("Reporting-MTA"))
	seen := make(map[string]bool)
	add := func(address string) {
		if name := strings.ToLower(address); !seen[name] {
			seen[name] = true
			n.add(RecipientStatus{Address: address})
		}
	}
	for _, field := range f {
		if field.Name != "original-rcpt-to" && field.Name != "removal-recipient" {
			continue
		}
		add(readAddress(mimetext.Unfold(field.Value)))
	}
	if len(n.Recipients) == 0 {
		// RFC 5965 §3.2: Original-Rcpt-To is optional, and many providers leave it out or hide it.
		for _, name := range []string{"X-Original-To", "Delivered-To", "To"} {
			eachAddress(clip(original.Get(name), maxLetterLine), func(_, _ int, address string) bool {
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
