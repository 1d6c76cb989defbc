package queueweb

import (
	"cmp"
	"slices"
)

// end is what has become of a recipient.
type end struct {
	Recipient string `json:"recipient"`
	What      string `json:"what"` // "delivered", "rejected", "expired" or "cancelled"
	Reply     string `json:"reply,omitempty"`
	Host      string `json:"host,omitempty"`
	Advice    string `json:"advice,omitempty"`
}

// ends returns the last event of each recipient, if it ended the recipient. The first ones are those that failed.
func ends(history []past) (all []end) {
	at := make(map[string]int)
	for i := range history {
		p := &history[i]
		switch p.What {
		case "delivered", "rejected", "expired", "cancelled":
		default:
			continue
		}
		e := end{Recipient: p.Recipient, What: p.What, Reply: p.Reply, Host: p.Host, Advice: p.Advice}
		if j, ok := at[e.Recipient]; ok {
			all[j] = e
			continue
		}
		at[e.Recipient] = len(all)
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b end) int { return cmp.Compare(a.rank(), b.rank()) })
	return all[:min(len(all), shownRecipients)]
}

// rank is 1 for a recipient who has the message, and 0 for one who hasn't.
func (e *end) rank() int {
	if e.What == "delivered" {
		return 1
	}
	return 0
}

// told returns the kinds of the reports that the sender got.
func told(history []past) (kinds []string) {
	for i := range history {
		if p := &history[i]; p.What == "reported" {
			kinds = append(kinds, p.Kind)
		}
	}
	return kinds
}

// Sentence returns a sentence about it.
func (e *end) Sentence() string {
	switch e.What {
	case "delivered":
		return "The host has accepted the message."
	case "expired":
		return "It couldn't be delivered before its time was over, and won't be tried again. The last cause: " + e.Reply
	case "cancelled":
		return "It was taken out of the queue by a person or the program."
	}
	return "It couldn't be delivered, and won't be tried again: " + e.Reply
}
