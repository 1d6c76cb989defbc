// Sends standard input by nodemailer: submit.js PORT starttls|tls PASSWORD FROM TO
const nodemailer = require('nodemailer');

const [port, how, pass, from, to] = process.argv.slice(2);
const transport = nodemailer.createTransport({
  host: '127.0.0.1',
  port: Number(port),
  name: 'source.test',
  secure: how === 'tls',
  requireTLS: how === 'starttls',
  tls: {rejectUnauthorized: false},
  auth: {user: 'ann', pass},
});
transport.sendMail({envelope: {from, to, use8BitMime: true}, raw: require('fs').readFileSync(0)}).catch((err) => {
  console.error(err.message);
  process.exitCode = 1;
});
