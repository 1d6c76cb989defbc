package interop

import (
	"os"
	"path/filepath"
	"testing"
)

// The password is "secret", by crypt(3).
const opensmtpdConfig = `pki opensmtpd.test cert "/cert.pem"
pki opensmtpd.test key "/key.pem"
smtp max-message-size 10M
table passwords { ann = "$6$postrider$0pVSUzrYKAwQSh/nr.7iMTX5mG5WtTrc80AkJmx05ES7KMw4AbvnJAm5HtvAySt2fYdHYhCyqB7yrep56qiSa0" }
table refused { "^refused" }
table grey { "^grey" }
table nobody { "^nobody" }
table boxes { "@" = nobody }
filter first phase mail-from match mail-from regex <refused> reject "550 5.7.1 sender refused"
filter second phase rcpt-to match rcpt-to regex <grey> reject "451 4.7.1 come back later"
filter all chain { first, second }
listen on 127.0.0.1 port @port@ tls pki opensmtpd.test auth-optional <passwords> hostname opensmtpd.test filter all
listen on 127.0.0.1 port @tlsPort@ smtps pki opensmtpd.test auth-optional <passwords> hostname opensmtpd.test filter all
action box maildir "/box" virtual <boxes>
match from any for rcpt-to regex <nobody> reject
match from any for domain "opensmtpd.test" action box
`

// opensmtpd has its paths built in. So it gets a root directory of its own, with its package's files and the system's
// libraries in it, and a mount namespace that ends with it.
// What it has copied of the mounts of loop devices it gives up at once: others may want to unmount those.
const opensmtpdStart = `set -e
awk '$1 ~ "^/dev/loop" { print $2 }' /proc/mounts | while read -r dir; do umount "$dir" || :; done
cd "$1"
for dir in bin lib lib32 lib64 libx32; do [ ! -d /usr/$dir ] || { mkdir usr/$dir && mount --bind -o ro /usr/$dir usr/$dir; }; done
mount --bind -o ro "$2/sbin" usr/sbin
mount --bind -o ro "$2/libexec" usr/libexec
mount --bind -o ro /etc etc
mount --rbind /dev dev
exec chroot . /usr/sbin/smtpd -dv -f /smtpd.conf
`

// opensmtpd starts an OpenSMTPD of its own that delivers everything for opensmtpd.test into a maildir.
func opensmtpd(t *testing.T) *nextHost { return opensmtpdWith(t, "") }

// opensmtpdWith has more lines of configuration, which go after those above.
func opensmtpdWith(t *testing.T, lines string) *nextHost {
	t.Helper()
	needRoot(t)
	need(t, "unshare", "chroot", "mount")
	usr := filepath.Dir(filepath.Dir(lookProgram(t, "smtpd", "opensmtpd")))
	account(t, "opensmtpd")
	account(t, "opensmtpq")
	root := serverDir(t, "opensmtpd")
	uid, gid := account(t, "nobody")
	box := filepath.Join(root, "box")
	mkdirs(t, uid, gid, box)
	for _, dir := range []string{"usr/sbin", "usr/libexec", "etc", "dev", "tmp", "run", "var/lib/opensmtpd/empty", "var/spool/smtpd", "var/run"} {
		mkdirs(t, 0, 0, filepath.Join(root, dir))
	}
	for _, dir := range []string{"bin", "lib", "lib32", "lib64", "libx32"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	cert := newCertificate(t, root, "opensmtpd.test")
	if err := os.Chmod(filepath.Join(root, "var/spool/smtpd"), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(cert.key, 0o600); err != nil {
		t.Fatal(err)
	}
	h := &nextHost{
		name:    "opensmtpd",
		version: programVersion(`OpenSMTPD (\S+)`, filepath.Join(usr, "sbin/smtpd"), "-h"),
		port:    freePort(t),
		tlsPort: freePort(t),
		roots:   cert.roots,
		mails:   func(t *testing.T) []mail { return maildir(t, box, "Delivered-To") },
	}
	h.route = "127.0.0.1:" + h.port
	write(t, filepath.Join(root, "smtpd.conf"), configured(opensmtpdConfig+lines, "@port@", h.port, "@tlsPort@", h.tlsPort))
	startServer(t, "", "unshare", "-m", "sh", "-c", opensmtpdStart, "sh", root, usr)
	waitPort(t, h.port)
	return h
}
