package bounce

import (
	"strings"
	"testing"
)

// TestContact: an address to ask for help is no recipient, wherever it stands. A role address can be one.
func TestContact(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"below a list", "The following recipients could not be reached:\n\n   Bob Smith (bob@far.test)\n   postmaster@far.test can help you", "bob@far.test"},
		{"a sentence over two lines", "Your message was not delivered to the following recipients:\n\nBob Smith, bob@far.test: user unknown\n\n" +
			"If you think that this is an error, mail\npostmaster@far.test", "bob@far.test"},
		{"a signature", "bob@far.test: user unknown\n\npostmaster@far.test", "bob@far.test"},
		{"another sentence of the line", "Could not deliver to bob@far.test; for help see support@far.test", "bob@far.test"},
		{"a question before", "Call the service desk if you think this is wrong. Your message to bob@far.test was refused: user unknown", "bob@far.test"},
		{"in a reply", "<<< RCPT TO:<bob@far.test>\n<<< 550 rejected, mail to abuse@far.test if wrong", "bob@far.test"},
		{"help with a list", "For help with the following recipients:\nbob@far.test\n    550 no such user", "bob@far.test"},
		{"alone", "This message was created automatically.\nDelivery failed: user unknown.\n\npostmaster@far.test", ""},
		{"forward", "Your mail was refused by a filter: 550 rejected.\nIf this is wrong, forward this mail to: postmaster@far.test", ""},
		{"to be unlisted", "550 Blocked: mail webmaster@far.test to be unlisted", ""},
		{"questions over two lines", "Undeliverable message.\n\nPlease send questions regarding\nthis message to: it@far.test", ""},
		{"in touch", "The message to the recipient failed. Recipient list:\nPlease get in touch with it@far.test", ""},
		{"German", "Nachricht konnte nicht zugestellt werden. Empfänger:\n\nBei Fragen wenden Sie sich an postmaster@far.test", ""},
		{"French", "Destinataire inconnu:\n\nPour toute question, écrivez à postmaster@far.test", ""},
		{"a role, listed", "Your message could not be delivered to the following recipients:\n\npostmaster@far.test\n    550 no such user", "postmaster@far.test"},
		{"a role, alone in a list", "Delivery failed for the following:\n\nsupport@far.test\n\n550 no such user", "support@far.test"},
		{"a role in brackets", "For further assistance, please send mail to postmaster.\n\n<postmaster@far.test>: host mx.far.test said: 550 no such user", "postmaster@far.test"},
		{"a role in a transcript", "<<< RCPT TO:<postmaster@far.test>\n>>> 550 5.1.1 no such user", "postmaster@far.test"},
		{"a role in a sentence", "Your message to support@far.test could not be delivered: user unknown", "support@far.test"},
		{"a role with a label", "Recipient: abuse@far.test\nReason: 550 5.1.1 no such user", "abuse@far.test"},
		{"a role after To", "The message could not be delivered.\nTo: support@far.test\nReason: 550 5.1.1 no such user", "support@far.test"},
		{"a role that failed", "Failed: abuse@far.test\nReason: 550 5.1.1 no such user", "abuse@far.test"},
		{"a label, and help behind", "Recipient: bob@far.test (contact your administrator)\n550 5.1.1 no such user", "bob@far.test"},
		{"information that isn't help", "More information: the address bob@far.test does not exist\n550 5.1.1 no such user", "bob@far.test"},
		{"information on a role", "More information: the address <postmaster@far.test> does not exist\n550 5.1.1 no such user", "postmaster@far.test"},
		{"information that is help", "550 5.1.1 rejected\nMore information: ask it@far.test why it does not exist", ""},
		{"a label over two lines", "550 5.1.1 rejected\nFor help, forward this message\nto: it@far.test", ""},
		{"help above, and a reply", "If you believe this is a mistake, see below\n<bob@far.test>: host mx.far.test said: 550 5.1.1 user unknown", "bob@far.test"},
		{"help above, and a reply at once", "For further information, see the text below\nbob@far.test: 550 5.1.1 user unknown", "bob@far.test"},
		{"help above, and a reply below", "Delivery to these recipients failed (more info below)\nbob@far.test\n550 user unknown", "bob@far.test"},
		{"a role in a reply", "550 5.1.1 <support@far.test>: user unknown", "support@far.test"},
		{"a name", "Bob Smith <bob@far.test>: 550 5.1.1 no such user", "bob@far.test"},
		{"a name, and a reply with contacts", "Bob Smith <bob@far.test>: 550 5.1.1 no such user, ask postmaster@far.test", "bob@far.test"},
		{"a name in a sentence", "Bob Smith <bob@far.test> could not be reached.", "bob@far.test"},
		{"a name that means help", "Kontakt <kontakt@far.test> couldn't be delivered", "kontakt@far.test"},
		{"a name like help", "Your message to Hilfe e.V. <info@far.test> couldn't be delivered", "info@far.test"},
		{"another sender and a recipient", "The mail of Eve Miller <eve@near.test> could not be delivered to bob@far.test", "bob@far.test"},
		{"what was rejected is no mail", "The proposal by John Smith <john@far.test> was rejected by the board.", ""},
		{"a sender that failed", "Mail from Eve Miller <eve@near.test> failed: 550 5.1.1 rejected", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := recipientsOf(t, tt.text); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestNamed: an address that stands behind a name, in a sentence about a failure, is a recipient's whatever words the
// name has. An address of a sender isn't, nor one to ask.
func TestNamed(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"Kontakt <kontakt@far.test> couldn't be delivered", "kontakt@far.test"},
		{"Contact <contact@far.test> could not be delivered.", "contact@far.test"},
		{"Contact Us <hello@far.test> does not exist.", "hello@far.test"},
		{"Reply Desk <desk@far.test> is unknown.", "desk@far.test"},
		{"Your message to Contact <contact@far.test> could not be delivered.", "contact@far.test"},
		{"Carlo Accardi <ca@far.test> cannot be reached.", "ca@far.test"},
		{"Mail to \"the Subject\" <sm@far.test> couldn't be delivered.", "sm@far.test"},
		{"Delivery to Bob Smith <bob@far.test> failed.", "bob@far.test"},
		{"We could not deliver your message to Bob Smith <bob@far.test>.", "bob@far.test"},
		{"Message to Bob Smith <bob@far.test> bounced.", "bob@far.test"},

		{"Mail from Contact <contact@near.test> could not be delivered.", ""},
		{"From Eve Miller <eve@near.test> could not be delivered.", ""},
		{"Sender Eve <eve@near.test> could not be reached.", ""},
		{"MAIL FROM: Eve <eve@near.test> could not be delivered.", ""},
		{"Your message from Eve <eve@near.test> could not be delivered.", ""},
		{"For help contact Bob <bob@far.test> if it could not be delivered.", ""},
		{"Contact Bob <bob@far.test> if it could not be delivered.", ""},
		{"If your mail could not be delivered, contact Eve Miller <eve@near.test>.", ""},
		{"It could not be delivered, for help send mail to Eve Miller <eve@near.test>.", ""},
		{"Please send mail to Eve Miller <eve@near.test>.", ""},
	} {
		if got := recipientsOf(t, tt.text); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.text, got, tt.want)
		}
	}
}

// recipientsOf returns the recipients that a bounce with that text names.
func recipientsOf(t *testing.T, text string) string {
	t.Helper()
	n, err := Parse(strings.NewReader("From: MAILER-DAEMON@mx.far.test\r\nTo: ann@near.test\r\n" +
		"Subject: Undelivered Mail Returned to Sender\r\n\r\n" + strings.ReplaceAll(text, "\n", "\r\n") + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range n.Recipients {
		got = append(got, r.Address)
	}
	return strings.Join(got, " ")
}
