package bounce

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// sesNotice is a notification of Amazon SES that SNS sends by mail.
type sesNotice struct {
	Type   string `json:"notificationType"`
	Bounce struct {
		Type       string `json:"bounceType"`
		Timestamp  string `json:"timestamp"`
		MTA        string `json:"reportingMTA"`
		Recipients []struct {
			Address    string `json:"emailAddress"`
			Action     string `json:"action"`
			Status     string `json:"status"`
			Diagnostic string `json:"diagnosticCode"`
		} `json:"bouncedRecipients"`
	} `json:"bounce"`
	Complaint struct {
		Type       string `json:"complaintFeedbackType"`
		UserAgent  string `json:"userAgent"`
		Recipients []struct {
			Address string `json:"emailAddress"`
		} `json:"complainedRecipients"`
	} `json:"complaint"`
	Delivery struct {
		Timestamp  string   `json:"timestamp"`
		Recipients []string `json:"recipients"`
		Response   string   `json:"smtpResponse"`
		MTA        string   `json:"reportingMTA"`
	} `json:"delivery"`
	Mail struct {
		Headers []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"headers"`
		CommonHeaders struct {
			MessageID string `json:"messageId"`
		} `json:"commonHeaders"`
	} `json:"mail"`
}

// readNotice reads a notification in JSON, as Amazon SES documents it ("Amazon SNS notification examples"). It returns
// nil for any other mail.
func (d *document) readNotice() *Notification {
	text := strings.TrimSpace(string(d.text))
	if !strings.HasPrefix(text, "{") || !strings.Contains(clip(text, 200), `"notificationType"`) {
		return nil
	}
	// The mail has one long line of JSON, folded with a space where it was too long, and a text below it.
	text, _, _ = strings.Cut(text, "\n\n")
	text, _, _ = strings.Cut(text, "\n--\n")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\n ", ""), "\n", "")
	var s sesNotice
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&s); err != nil && s.Type == "" {
		return nil
	}
	n := &Notification{Format: "ses", OriginalID: s.Mail.CommonHeaders.MessageID}
	for _, h := range s.Mail.Headers {
		if strings.EqualFold(h.Name, "Message-ID") {
			n.OriginalID = h.Value
		}
	}
	switch s.Type {
	case "Bounce":
		n.Kind = Bounce
		_, n.ReportingMTA = typed(s.Bounce.MTA)
		for _, b := range s.Bounce.Recipients {
			r := RecipientStatus{
				Address: cleanAddress(b.Address), Action: readAction(b.Action), Status: readCode(b.Status),
			}
			r.Time, _ = time.Parse(time.RFC3339, s.Bounce.Timestamp)
			kind, words := typed(b.Diagnostic)
			r.Local = !strings.EqualFold(kind, "smtp")
			r.setWords(words)
			if r.Action == 0 && s.Bounce.Type == "Transient" && r.Status == (smtp.EnhancedCode{}) {
				r.Status = smtp.EnhancedCode{4, 0, 0}
			}
			r.conclude("")
			n.add(r)
		}
	case "Complaint":
		n.Kind = Complaint
		n.Feedback = &Feedback{Type: strings.ToLower(s.Complaint.Type), UserAgent: s.Complaint.UserAgent}
		if n.Feedback.Type == "" {
			n.Feedback.Type = "abuse"
		}
		for _, c := range s.Complaint.Recipients {
			n.add(RecipientStatus{Address: cleanAddress(c.Address)})
		}
	case "Delivery":
		n.Kind = Bounce
		_, n.ReportingMTA = typed(s.Delivery.MTA)
		for _, address := range s.Delivery.Recipients {
			r := RecipientStatus{Address: cleanAddress(address), Action: Delivered}
			r.Time, _ = time.Parse(time.RFC3339, s.Delivery.Timestamp)
			r.setWords(s.Delivery.Response)
			r.conclude("")
			n.add(r)
		}
	}
	if n.Kind == Bounce && len(n.Recipients) == 0 {
		return nil
	}
	return n
}

// add adds a recipient that has an address, up to maxRecipients.
func (n *Notification) add(r RecipientStatus) {
	if r.Address != "" && len(n.Recipients) < maxRecipients {
		n.Recipients = append(n.Recipients, r)
	}
}
