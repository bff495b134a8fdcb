/// The second half of the simulated device: how it registers and answers.
extension DeviceDriver {
    static let signalling = #"""
        # ---- Signalling.
        class Agent:
            def __init__(self):
                self.buffer, self.calls, self.cseq, self.waiting = b"", {}, 1, {}
                self.register_call = self.word() + "@device"
                self.authorization = None
                self.open()

            def word(self):
                return "".join(random.choice("abcdef0123456789") for _ in range(16))

            def open(self):
                if TCP:
                    self.socket = socket.create_connection((HOST, PORT))
                else:
                    self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    self.socket.bind((S.get("from", "127.0.0.1"), 0))
                    self.socket.connect((HOST, PORT))
                self.local = self.socket.getsockname()
                threading.Thread(target=self.read, args=(self.socket,), daemon=True).start()

            def read(self, s):
                buffer = b""
                while True:
                    try:
                        data = s.recv(65536)
                    except OSError:
                        return
                    if not data:
                        return tell("closed")
                    if not TCP:
                        self.receive(data)
                        continue
                    buffer += data
                    while b"\r\n\r\n" in buffer:
                        head, rest = buffer.split(b"\r\n\r\n", 1)
                        match = re.search(rb"content-length:\s*(\d+)", head, re.I)
                        length = int(match.group(1)) if match else 0
                        if len(rest) < length:
                            break
                        self.receive(head + b"\r\n\r\n" + rest[:length])
                        buffer = rest[length:]

            def receive(self, data):
                head, _, body = data.partition(b"\r\n\r\n")
                lines = head.decode("utf-8", "replace").split("\r\n")
                fields = {}
                for line in lines[1:]:
                    name, _, value = line.partition(":")
                    fields.setdefault(name.strip().lower(), value.strip())
                if lines[0].startswith("SIP/2.0"):
                    status = int(lines[0].split()[1])
                    event = self.waiting.get(fields.get("call-id", "") + fields.get("cseq", ""))
                    if event:
                        event[1] = (status, fields)
                        event[0].set()
                    return
                method = lines[0].split()[0]
                getattr(self, "on_" + method.lower(), self.on_other)(lines[0], fields, body)

            def write(self, start, fields, body=b""):
                text = start + "\r\n" + "".join("%s: %s\r\n" % f for f in fields) + "Content-Length: %d\r\n\r\n" % len(body)
                with lock:
                    self.socket.sendall(text.encode() + body)

            def answer(self, fields, status, reason, extra=(), body=b""):
                to = fields["to"] + ("" if "tag=" in fields["to"] else ";tag=" + self.word())
                own = [("Via", fields["via"]), ("From", fields["from"]), ("To", to), ("Call-ID", fields["call-id"]),
                       ("CSeq", fields["cseq"])]
                self.write("SIP/2.0 %d %s" % (status, reason), own + list(extra), body)
                return to

            def request(self, method, body="", extra=(), call=None, wait=5):
                self.cseq += 1
                call = call or self.word() + "@device"
                cseq = "%d %s" % (self.cseq, method)
                data = body.encode("gb2312")
                fields = [("Via", "SIP/2.0/%s %s:%d;rport;branch=z9hG4bK%s" % ("TCP" if TCP else "UDP", *self.local, self.word())),
                          ("From", "<sip:%s@%s>;tag=%s" % (ID, DOMAIN, self.word())), ("To", "<sip:%s@%s>" % (SERVER, DOMAIN)),
                          ("Call-ID", call), ("CSeq", cseq), ("Contact", "<sip:%s@%s:%d>" % (ID, *self.local)),
                          ("Max-Forwards", "70"), ("User-Agent", "Simulated camera")] + list(extra)
                if data:
                    fields.append(("Content-Type", "Application/MANSCDP+xml"))
                event = [threading.Event(), None]
                self.waiting[call + cseq] = event
                for _ in range(3):
                    self.write("%s sip:%s@%s SIP/2.0" % (method, SERVER, DOMAIN), fields, data)
                    if event[0].wait(wait if TCP else 1):
                        break
                return event[1] or (0, {})

            def register(self, expires=3600, password=None):
                status, fields = self.request("REGISTER", extra=[("Expires", str(expires))], call=self.register_call)
                if status == 401:
                    values = dict(re.findall(r'(\w+)="?([^",]+)"?', fields["www-authenticate"]))
                    password = PASSWORD if password is None else password
                    md5 = lambda text: hashlib.md5(text.encode()).hexdigest()
                    uri = "sip:%s@%s" % (SERVER, DOMAIN)
                    h1, h2 = md5("%s:%s:%s" % (ID, values["realm"], password)), md5("REGISTER:" + uri)
                    extra = ""
                    if S.get("qop", True) and "qop" in values:
                        response = md5(":".join([h1, values["nonce"], "00000001", "0a4f113b", "auth", h2]))
                        extra = ', qop=auth, nc=00000001, cnonce="0a4f113b"'
                    else:
                        response = md5(":".join([h1, values["nonce"], h2]))
                    text = 'Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=MD5%s' % (
                        ID, values["realm"], values["nonce"], uri, response, extra)
                    status, fields = self.request(
                        "REGISTER", extra=[("Expires", str(expires)), ("Authorization", text)], call=self.register_call)
                tell("register", status=status, date=fields.get("date", ""), expires=expires)
                return status

            def keepalive(self):
                body = "<?xml version=\"1.0\"?>\r\n<Notify>\r\n<CmdType>Keepalive</CmdType>\r\n<SN>%d</SN>\r\n<DeviceID>%s</DeviceID>" \
                    "\r\n<Status>OK</Status>\r\n</Notify>" % (self.cseq, ID)
                status, _ = self.request("MESSAGE", body)
                tell("keepalive", status=status)
                return status

            # What the platform asks.
            def on_message(self, start, fields, body):
                self.answer(fields, 200, "OK")
                text = body.decode("gb2312", "replace")
                find = lambda name: (re.search("<%s>(.*?)</%s>" % (name, name), text, re.S) or [None, ""])[1]
                command, sn = find("CmdType"), find("SN")
                if "<Control>" in text:
                    tell("control", channel=find("DeviceID"), ptz=find("PTZCmd"), text=text)
                    if "PTZCmd" not in text:
                        self.respond(command, sn, "<Result>OK</Result>", find("DeviceID"))
                elif command == "Catalog":
                    threading.Thread(target=self.catalog, args=(sn,), daemon=True).start()
                elif command == "DeviceInfo":
                    self.respond(command, sn, "<DeviceName>摄像机</DeviceName><Manufacturer>Weir</Manufacturer><Model>Sim</Model>"
                                 "<Firmware>1.0</Firmware><Channel>%d</Channel><Result>OK</Result>" % len(CHANNELS))
                elif command == "DeviceStatus":
                    self.respond(command, sn, "<Result>OK</Result><Online>ONLINE</Online><Status>OK</Status><Record>OFF</Record>")
                elif command == "RecordInfo":
                    items = "".join(
                        "<Item><DeviceID>%s</DeviceID><Name>录像</Name><StartTime>2024-05-01T0%d:00:00</StartTime>"
                        "<EndTime>2024-05-01T0%d:59:59</EndTime><Secrecy>0</Secrecy><Type>time</Type><FileSize>1048576</FileSize></Item>"
                        % (find("DeviceID"), n, n) for n in range(3))
                    tell("record-query", start=find("StartTime"), end=find("EndTime"))
                    self.respond(command, sn, "<SumNum>3</SumNum><RecordList Num=\"3\">%s</RecordList>" % items, find("DeviceID"))

            def respond(self, command, sn, inner, device=ID):
                body = "<?xml version=\"1.0\" encoding=\"GB2312\"?>\r\n<Response>\r\n<CmdType>%s</CmdType>\r\n<SN>%s</SN>\r\n" \
                    "<DeviceID>%s</DeviceID>\r\n%s\r\n</Response>" % (command, sn, device, inner)
                threading.Thread(target=self.request, args=("MESSAGE", body), daemon=True).start()

            def catalog(self, sn):
                for n, (channel, name) in enumerate(CHANNELS):
                    item = "<Item><DeviceID>%s</DeviceID><Name>%s</Name><Manufacturer>Weir</Manufacturer><Model>Sim</Model>" \
                        "<Parental>0</Parental><ParentID>%s</ParentID><Status>ON</Status></Item>" % (channel, name, ID)
                    self.respond("Catalog", sn, "<SumNum>%d</SumNum><DeviceList Num=\"1\">%s</DeviceList>" % (len(CHANNELS), item))
                    time.sleep(0.02)

            def on_subscribe(self, start, fields, body):
                tell("subscribe", event_type=fields.get("event", ""))
                self.answer(fields, 200, "OK", [("Expires", fields.get("expires", "3600"))])

            def on_invite(self, start, fields, body):
                text = body.decode()
                find = lambda pattern, other="": (re.search(pattern, text, re.M) or [None, other])[1]
                offer = dict(
                    host=find(r"^c=IN IP4 (\S+)"), port=int(find(r"^m=video (\d+)")), tcp="TCP/" in find(r"^m=(.*)$"),
                    setup=find(r"^a=setup:(\w+)"), ssrc=int(find(r"^y=(\d+)", "0")), name=find(r"^s=(\S+)"), time=find(r"^t=(.*?)\r?$"))
                tell("invite", channel=start.split()[1], subject=fields.get("subject", ""), **offer)
                if S.get("refuse"):
                    return self.answer(fields, S["refuse"], "Refused")
                self.answer(fields, 100, "Trying")
                call = fields["call-id"]
                with lock:
                    if call in self.calls:
                        return
                    sender = Sender(offer, call)
                    self.calls[call] = sender
                port = sender.listener.getsockname()[1] if sender.listener else 30000
                setup = "" if not offer["tcp"] else "a=setup:%s\r\n" % ("passive" if sender.listener else "active")
                sdp = "v=0\r\no=%s 0 0 IN IP4 127.0.0.1\r\ns=%s\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video %d %sRTP/AVP 96\r\n" \
                    "a=sendonly\r\na=rtpmap:96 PS/90000\r\n%sy=%010d\r\n" % (
                        ID, offer["name"], port, "TCP/" if offer["tcp"] else "", setup, S.get("answer-ssrc", offer["ssrc"]))
                sender.fields = fields
                sender.to = self.answer(fields, 200, "OK", [("Contact", "<sip:%s@%s:%d>" % (ID, *self.local)),
                                                            ("Content-Type", "application/sdp")], sdp.encode())

            def on_ack(self, start, fields, body):
                sender = self.calls.get(fields["call-id"])
                if sender and not sender.is_alive() and not sender.stopped and not S.get("mute"):
                    tell("ack", call=fields["call-id"])
                    sender.start()

            def on_bye(self, start, fields, body):
                self.answer(fields, 200, "OK")
                sender = self.calls.pop(fields["call-id"], None)
                if sender:
                    sender.stopped = True
                tell("bye", known=sender is not None)

            def on_cancel(self, start, fields, body):
                self.answer(fields, 200, "OK")
                tell("cancel")

            def on_info(self, start, fields, body):
                self.answer(fields, 200, "OK")
                text = body.decode()
                sender = self.calls.get(fields["call-id"])
                if sender:
                    if text.startswith("PAUSE"):
                        sender.paused = True
                    elif "Scale" not in text:
                        sender.paused = False
                tell("info", text=text)

            def on_other(self, start, fields, body):
                self.answer(fields, 405, "Method Not Allowed")


        agent = Agent()


        def command(line):
            words = line.split()
            if words[0] == "register":
                agent.register()
            elif words[0] == "unregister":
                agent.register(0)
            elif words[0] == "keepalive":
                agent.keepalive()
            elif words[0] == "alarm":
                agent.request("MESSAGE", "<?xml version=\"1.0\"?><Notify><CmdType>Alarm</CmdType><SN>7</SN><DeviceID>%s</DeviceID>"
                              "<AlarmPriority>1</AlarmPriority><AlarmMethod>5</AlarmMethod><AlarmTime>2024-05-01T00:00:00</AlarmTime>"
                              "<AlarmDescription>移动侦测</AlarmDescription></Notify>" % (CHANNELS[0][0] if CHANNELS else ID))
            elif words[0] == "rebind":
                # As after a change of the network: another socket, and from another address if one is named.
                for sender in agent.calls.values():
                    sender.stopped = True
                agent.calls.clear()
                agent.socket.close()
                if len(words) > 1:
                    S["from"] = words[1]
                agent.register_call = agent.word() + "@device"
                agent.open()
                agent.register()
            elif words[0] == "cut":
                for sender in agent.calls.values():
                    sender.stopped = True
                agent.calls.clear()
            elif words[0] == "hangup":
                for call, sender in list(agent.calls.items()):
                    sender.stopped = True
                    agent.cseq += 1
                    agent.write("BYE sip:%s@%s SIP/2.0" % (SERVER, DOMAIN), [
                        ("Via", "SIP/2.0/%s %s:%d;rport;branch=z9hG4bK%s" % ("TCP" if TCP else "UDP", *agent.local, agent.word())),
                        ("From", sender.to), ("To", sender.fields["from"]), ("Call-ID", call), ("CSeq", "%d BYE" % agent.cseq)])
                    del agent.calls[call]
            elif words[0] == "quit":
                os._exit(0)
            tell("done", command=line)


        if agent.register(S.get("expires", 3600), S.get("wrong")) == 200:
            agent.keepalive()
        done, last = 0, time.monotonic()
        while True:
            time.sleep(0.05)
            if time.monotonic() - last > S.get("keepalive", 20):
                last = time.monotonic()
                agent.keepalive()
            if os.path.exists(S["commands"]):
                lines = open(S["commands"]).read().splitlines()
                for line in lines[done:]:
                    command(line)
                done = len(lines)
        """# + "\n"
}
