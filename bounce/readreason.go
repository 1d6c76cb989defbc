package bounce

import "github.com/postrider/postrider/smtp"

// reasonOf returns the cause of what happened to a recipient.
func reasonOf(r *RecipientStatus) smtp.Reason {
	reply := r.Reply
	if reply == nil {
		code := 550
		if r.Status[0] == 4 {
			code = 450
		}
		reply = &smtp.Reply{Code: code, Enhanced: r.Status, Text: r.Text}
	}
	outcome := smtp.Rejected
	if r.Status[0] == 4 {
		outcome = smtp.Deferred
	}
	return smtp.ReasonOf(&smtp.Result{Outcome: outcome, Stage: smtp.StageRcpt, Reply: reply})
}
