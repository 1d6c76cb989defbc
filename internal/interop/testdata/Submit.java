// Sends the mail of standard input by JavaMail: java Submit PORT starttls|tls PASSWORD FROM TO
import java.util.Properties;
import javax.mail.Session;
import javax.mail.Transport;
import javax.mail.internet.InternetAddress;
import javax.mail.internet.MimeMessage;

class Submit {
	public static void main(String[] args) throws Exception {
		String port = args[0], how = args[1], password = args[2], from = args[3], to = args[4];
		boolean ascii = to.chars().allMatch(c -> c < 128);
		Properties p = new Properties();
		p.put("mail.transport.protocol", "smtp");
		p.put("mail.smtp.host", "127.0.0.1");
		p.put("mail.smtp.port", port);
		p.put("mail.smtp.auth", "true");
		p.put("mail.smtp.ssl.trust", "*");
		p.put("mail.smtp.ssl.enable", String.valueOf(how.equals("tls")));
		p.put("mail.smtp.starttls.enable", "true");
		p.put("mail.smtp.starttls.required", String.valueOf(how.equals("starttls")));
		p.put("mail.smtp.allow8bitmime", "true");
		p.put("mail.smtp.timeout", "20000");
		p.put("mail.mime.allowutf8", String.valueOf(!ascii));
		p.put("mail.smtp.from", from);
		Session session = Session.getInstance(p);
		MimeMessage message = new MimeMessage(session, System.in);
		try (Transport transport = session.getTransport()) {
			transport.connect("ann", password);
			transport.sendMessage(message, new InternetAddress[] {new InternetAddress(to)});
		}
	}
}
