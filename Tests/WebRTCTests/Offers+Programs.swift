extension Offers {
    /// aiortc 1.16 publishes.
    static let aiortcPublish = lines(
        """
        v=0
        o=- 4004406819 4004406819 IN IP4 0.0.0.0
        s=-
        t=0 0
        a=group:BUNDLE 0 1
        a=msid-semantic:WMS *
        m=audio 43119 UDP/TLS/RTP/SAVPF 96 9 0 8
        c=IN IP4 192.0.2.2
        a=sendonly
        a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid
        a=extmap:2 urn:ietf:params:rtp-hdrext:ssrc-audio-level
        a=mid:0
        a=msid:4b992a69-e7f3-4251-b7ac-b8c91fe963be f67d37ac-1f8a-4674-b95c-4c093bcd6dbe
        a=rtcp:9 IN IP4 0.0.0.0
        a=rtcp-mux
        a=ssrc:2755777350 cname:d9b46156-8d13-4adb-ae9b-91b1b1c0e111
        a=rtpmap:96 opus/48000/2
        a=rtpmap:9 G722/8000
        a=rtpmap:0 PCMU/8000
        a=rtpmap:8 PCMA/8000
        a=candidate:f957a2332b1715da3b0ef8ba684454eb 1 udp 2130706431 192.0.2.2 43119 typ host
        a=candidate:d0bcf3d9c29a2bc887618212a1623bfa 1 udp 2130706431 fd00::2 45394 typ host
        a=end-of-candidates
        a=ice-ufrag:gcar
        a=ice-pwd:nVHVVwUFSH1e0gkAzUbmjC
        a=fingerprint:sha-256 4F:91:85:1E:02:DB:6D:75:B9:FD:F4:D6:D9:82:33:CC:55:E0:E6:9D:8E:82:0A:C2:64:2F:7E:32:C8:4C:7E:83
        a=fingerprint:sha-384 E9:2E:EF:F1:BA:93:C8:12:4E:06:3E:D7:B2:ED:7A:FC:DE:95:3B:6C:25:C0:13:84:41:79:26:F3:28:BA:52:CE:66:48:C3:AA:59:BB:6E:2F:61:87:DF:C8:6E:36:F8:83
        a=fingerprint:sha-512 6E:52:BF:33:5C:20:31:9B:E2:08:D4:97:3D:38:C6:D3:23:84:A8:90:F6:BE:EB:C0:F1:F9:63:35:34:50:B2:65:84:6A:60:23:A0:0D:0D:49:8B:BD:B7:9C:FE:B3:E9:56:8E:31:0A:79:E1:DD:9B:00:5A:F8:89:B9:B4:29:A8:65
        a=setup:actpass
        m=video 35653 UDP/TLS/RTP/SAVPF 97 98 99 100 101 102
        c=IN IP4 192.0.2.2
        a=sendonly
        a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid
        a=extmap:3 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
        a=mid:1
        a=msid:4b992a69-e7f3-4251-b7ac-b8c91fe963be a105cd0f-2529-44e1-ab4c-8099e413bd31
        a=rtcp:9 IN IP4 0.0.0.0
        a=rtcp-mux
        a=ssrc-group:FID 1971266674 3147919970
        a=ssrc:1971266674 cname:d9b46156-8d13-4adb-ae9b-91b1b1c0e111
        a=ssrc:3147919970 cname:d9b46156-8d13-4adb-ae9b-91b1b1c0e111
        a=rtpmap:97 VP8/90000
        a=rtcp-fb:97 nack
        a=rtcp-fb:97 nack pli
        a=rtcp-fb:97 goog-remb
        a=rtpmap:98 rtx/90000
        a=fmtp:98 apt=97
        a=rtpmap:99 H264/90000
        a=rtcp-fb:99 nack
        a=rtcp-fb:99 nack pli
        a=rtcp-fb:99 goog-remb
        a=fmtp:99 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f
        a=rtpmap:100 rtx/90000
        a=fmtp:100 apt=99
        a=rtpmap:101 H264/90000
        a=rtcp-fb:101 nack
        a=rtcp-fb:101 nack pli
        a=rtcp-fb:101 goog-remb
        a=fmtp:101 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
        a=rtpmap:102 rtx/90000
        a=fmtp:102 apt=101
        a=candidate:f957a2332b1715da3b0ef8ba684454eb 1 udp 2130706431 192.0.2.2 35653 typ host
        a=candidate:d0bcf3d9c29a2bc887618212a1623bfa 1 udp 2130706431 fd00::2 39109 typ host
        a=end-of-candidates
        a=ice-ufrag:gcar
        a=ice-pwd:nVHVVwUFSH1e0gkAzUbmjC
        a=fingerprint:sha-256 4F:91:85:1E:02:DB:6D:75:B9:FD:F4:D6:D9:82:33:CC:55:E0:E6:9D:8E:82:0A:C2:64:2F:7E:32:C8:4C:7E:83
        a=fingerprint:sha-384 E9:2E:EF:F1:BA:93:C8:12:4E:06:3E:D7:B2:ED:7A:FC:DE:95:3B:6C:25:C0:13:84:41:79:26:F3:28:BA:52:CE:66:48:C3:AA:59:BB:6E:2F:61:87:DF:C8:6E:36:F8:83
        a=fingerprint:sha-512 6E:52:BF:33:5C:20:31:9B:E2:08:D4:97:3D:38:C6:D3:23:84:A8:90:F6:BE:EB:C0:F1:F9:63:35:34:50:B2:65:84:6A:60:23:A0:0D:0D:49:8B:BD:B7:9C:FE:B3:E9:56:8E:31:0A:79:E1:DD:9B:00:5A:F8:89:B9:B4:29:A8:65
        a=setup:actpass
        """)

    /// aiortc 1.16 plays.
    static let aiortcPlay = lines(
        """
        v=0
        o=- 4004406819 4004406819 IN IP4 0.0.0.0
        s=-
        t=0 0
        a=group:BUNDLE 0 1
        a=msid-semantic:WMS *
        m=video 57012 UDP/TLS/RTP/SAVPF 97 98 99 100 101 102
        c=IN IP4 192.0.2.2
        a=recvonly
        a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid
        a=extmap:3 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
        a=mid:0
        a=msid:d8529070-f0c7-4c5d-9761-ebc947e01f7c df194184-214f-45f1-b2ad-a701e44f14b8
        a=rtcp:9 IN IP4 0.0.0.0
        a=rtcp-mux
        a=ssrc-group:FID 2426032510 4076681679
        a=ssrc:2426032510 cname:f9c959f2-7ea2-4e9a-a8eb-90f56708f386
        a=ssrc:4076681679 cname:f9c959f2-7ea2-4e9a-a8eb-90f56708f386
        a=rtpmap:97 VP8/90000
        a=rtcp-fb:97 nack
        a=rtcp-fb:97 nack pli
        a=rtcp-fb:97 goog-remb
        a=rtpmap:98 rtx/90000
        a=fmtp:98 apt=97
        a=rtpmap:99 H264/90000
        a=rtcp-fb:99 nack
        a=rtcp-fb:99 nack pli
        a=rtcp-fb:99 goog-remb
        a=fmtp:99 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f
        a=rtpmap:100 rtx/90000
        a=fmtp:100 apt=99
        a=rtpmap:101 H264/90000
        a=rtcp-fb:101 nack
        a=rtcp-fb:101 nack pli
        a=rtcp-fb:101 goog-remb
        a=fmtp:101 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
        a=rtpmap:102 rtx/90000
        a=fmtp:102 apt=101
        a=candidate:f957a2332b1715da3b0ef8ba684454eb 1 udp 2130706431 192.0.2.2 57012 typ host
        a=candidate:d0bcf3d9c29a2bc887618212a1623bfa 1 udp 2130706431 fd00::2 48588 typ host
        a=end-of-candidates
        a=ice-ufrag:K4Mg
        a=ice-pwd:mYPuaRhpjzSSfoSqHNBnsO
        a=fingerprint:sha-256 46:07:DB:BF:4D:C5:D6:0D:8A:5A:28:63:38:B6:58:8B:D7:78:E2:0D:60:63:13:33:30:D4:41:8F:4A:63:FA:F7
        a=fingerprint:sha-384 72:CC:0B:BA:33:56:11:BA:0B:E5:5D:9E:93:26:23:6A:4C:84:CC:EB:F2:0B:C6:E5:8F:3D:2F:78:C4:FD:D7:EB:6A:B1:2A:B1:94:D2:D1:1D:EA:4C:70:7D:50:1B:EB:EB
        a=fingerprint:sha-512 AC:93:4D:AF:66:15:21:66:3C:97:CD:95:58:A6:BE:25:9D:86:03:C1:58:D3:F4:B8:C1:D3:48:68:9F:3D:9D:F4:B9:2F:21:0E:10:E2:E5:86:33:EC:65:29:D7:AC:23:EC:E1:24:07:21:21:1E:43:77:F8:8F:61:4B:0D:9F:36:62
        a=setup:actpass
        m=audio 56011 UDP/TLS/RTP/SAVPF 96 9 0 8
        c=IN IP4 192.0.2.2
        a=recvonly
        a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid
        a=extmap:2 urn:ietf:params:rtp-hdrext:ssrc-audio-level
        a=mid:1
        a=msid:d8529070-f0c7-4c5d-9761-ebc947e01f7c de838a60-23b3-485e-b875-04da53dd03db
        a=rtcp:9 IN IP4 0.0.0.0
        a=rtcp-mux
        a=ssrc:4202136234 cname:f9c959f2-7ea2-4e9a-a8eb-90f56708f386
        a=rtpmap:96 opus/48000/2
        a=rtpmap:9 G722/8000
        a=rtpmap:0 PCMU/8000
        a=rtpmap:8 PCMA/8000
        a=candidate:f957a2332b1715da3b0ef8ba684454eb 1 udp 2130706431 192.0.2.2 56011 typ host
        a=candidate:d0bcf3d9c29a2bc887618212a1623bfa 1 udp 2130706431 fd00::2 40387 typ host
        a=end-of-candidates
        a=ice-ufrag:K4Mg
        a=ice-pwd:mYPuaRhpjzSSfoSqHNBnsO
        a=fingerprint:sha-256 46:07:DB:BF:4D:C5:D6:0D:8A:5A:28:63:38:B6:58:8B:D7:78:E2:0D:60:63:13:33:30:D4:41:8F:4A:63:FA:F7
        a=fingerprint:sha-384 72:CC:0B:BA:33:56:11:BA:0B:E5:5D:9E:93:26:23:6A:4C:84:CC:EB:F2:0B:C6:E5:8F:3D:2F:78:C4:FD:D7:EB:6A:B1:2A:B1:94:D2:D1:1D:EA:4C:70:7D:50:1B:EB:EB
        a=fingerprint:sha-512 AC:93:4D:AF:66:15:21:66:3C:97:CD:95:58:A6:BE:25:9D:86:03:C1:58:D3:F4:B8:C1:D3:48:68:9F:3D:9D:F4:B9:2F:21:0E:10:E2:E5:86:33:EC:65:29:D7:AC:23:EC:E1:24:07:21:21:1E:43:77:F8:8F:61:4B:0D:9F:36:62
        a=setup:actpass
        """)

    /// webrtcbin of GStreamer 1.22 sends VP8 and Opus; audio has no transport of its own.
    static let gstreamerPublish = lines(
        """
        v=0
        o=- 5522690079260081129 0 IN IP4 0.0.0.0
        s=-
        t=0 0
        a=ice-options:trickle
        a=group:BUNDLE video0 audio1
        m=video 9 UDP/TLS/RTP/SAVPF 96
        c=IN IP4 0.0.0.0
        a=setup:actpass
        a=ice-ufrag:JNopEuW6RkTSeT4czHdB5RSG0BP59s/J
        a=ice-pwd:+HkeVyrgIiolYnXbqXl5ae5xrEYbxNwm
        a=rtcp-mux
        a=rtcp-rsize
        a=sendrecv
        a=rtpmap:96 VP8/90000
        a=rtcp-fb:96 nack pli
        a=rtcp-fb:96 ccm fir
        a=rtcp-fb:96 transport-cc
        a=framerate:30
        a=ssrc:675005503 msid:user207373165@host-ccac4795 webrtctransceiver0
        a=ssrc:675005503 cname:user207373165@host-ccac4795
        a=mid:video0
        a=fingerprint:sha-256 2A:7B:13:4A:BB:76:93:79:7C:C0:2C:D7:CA:D4:86:89:00:5C:D8:62:53:25:A3:F5:8A:29:C0:B5:A1:76:4A:99
        a=rtcp-mux-only
        a=candidate:1 1 UDP 2015363327 192.0.2.2 52033 typ host
        a=candidate:2 1 TCP 1015021823 192.0.2.2 9 typ host tcptype active
        a=candidate:3 1 TCP 1010827519 192.0.2.2 44889 typ host tcptype passive
        a=candidate:4 1 UDP 2015363583 fd00::2 44106 typ host
        a=candidate:5 1 TCP 1015022079 fd00::2 9 typ host tcptype active
        a=candidate:6 1 TCP 1010827775 fd00::2 54209 typ host tcptype passive
        a=candidate:7 1 UDP 2015363839 fe80::fc:ff:fe00:1 34532 typ host
        a=candidate:8 1 TCP 1015022335 fe80::fc:ff:fe00:1 9 typ host tcptype active
        a=candidate:9 1 TCP 1010828031 fe80::fc:ff:fe00:1 34351 typ host tcptype passive
        m=audio 0 UDP/TLS/RTP/SAVPF 97
        c=IN IP4 0.0.0.0
        a=setup:actpass
        a=ice-ufrag:JNopEuW6RkTSeT4czHdB5RSG0BP59s/J
        a=ice-pwd:+HkeVyrgIiolYnXbqXl5ae5xrEYbxNwm
        a=bundle-only
        a=rtcp-mux
        a=rtcp-rsize
        a=sendrecv
        a=rtpmap:97 OPUS/48000/2
        a=rtcp-fb:97 transport-cc
        a=fmtp:97 sprop-stereo=0;sprop-maxcapturerate=48000
        a=ssrc:1682886577 msid:user207373165@host-ccac4795 webrtctransceiver1
        a=ssrc:1682886577 cname:user207373165@host-ccac4795
        a=mid:audio1
        a=fingerprint:sha-256 2A:7B:13:4A:BB:76:93:79:7C:C0:2C:D7:CA:D4:86:89:00:5C:D8:62:53:25:A3:F5:8A:29:C0:B5:A1:76:4A:99
        a=rtcp-mux-only
        """)

    /// webrtcbin of GStreamer 1.22 receives H.264 and Opus.
    static let gstreamerPlay = lines(
        """
        v=0
        o=- 9188753249375225946 0 IN IP4 0.0.0.0
        s=-
        t=0 0
        a=ice-options:trickle
        a=group:BUNDLE video0 audio1
        m=video 9 UDP/TLS/RTP/SAVPF 96
        c=IN IP4 0.0.0.0
        a=setup:actpass
        a=ice-ufrag:xCjIzcGFhbRxdWAKonusJ5sbbLz9q60p
        a=ice-pwd:xG38X5fJ7AdHanfmJOQ8khbzm+wCDPsB
        a=rtcp-mux
        a=rtcp-rsize
        a=recvonly
        a=rtpmap:96 H264/90000
        a=rtcp-fb:96 nack pli
        a=rtcp-fb:96 ccm fir
        a=rtcp-fb:96 transport-cc
        a=fmtp:96 packetization-mode=1;profile-level-id=42e01f
        a=mid:video0
        a=fingerprint:sha-256 2A:7B:13:4A:BB:76:93:79:7C:C0:2C:D7:CA:D4:86:89:00:5C:D8:62:53:25:A3:F5:8A:29:C0:B5:A1:76:4A:99
        a=rtcp-mux-only
        a=candidate:1 1 UDP 2015363327 192.0.2.2 50791 typ host
        a=candidate:2 1 TCP 1015021823 192.0.2.2 9 typ host tcptype active
        a=candidate:3 1 TCP 1010827519 192.0.2.2 34777 typ host tcptype passive
        a=candidate:4 1 UDP 2015363583 fd00::2 42119 typ host
        a=candidate:5 1 TCP 1015022079 fd00::2 9 typ host tcptype active
        a=candidate:6 1 TCP 1010827775 fd00::2 50651 typ host tcptype passive
        a=candidate:7 1 UDP 2015363839 fe80::fc:ff:fe00:1 57720 typ host
        a=candidate:8 1 TCP 1015022335 fe80::fc:ff:fe00:1 9 typ host tcptype active
        a=candidate:9 1 TCP 1010828031 fe80::fc:ff:fe00:1 36205 typ host tcptype passive
        m=audio 0 UDP/TLS/RTP/SAVPF 97
        c=IN IP4 0.0.0.0
        a=setup:actpass
        a=ice-ufrag:xCjIzcGFhbRxdWAKonusJ5sbbLz9q60p
        a=ice-pwd:xG38X5fJ7AdHanfmJOQ8khbzm+wCDPsB
        a=bundle-only
        a=rtcp-mux
        a=rtcp-rsize
        a=recvonly
        a=rtpmap:97 OPUS/48000
        a=rtcp-fb:97 transport-cc
        a=mid:audio1
        a=fingerprint:sha-256 2A:7B:13:4A:BB:76:93:79:7C:C0:2C:D7:CA:D4:86:89:00:5C:D8:62:53:25:A3:F5:8A:29:C0:B5:A1:76:4A:99
        a=rtcp-mux-only
        """)

    /// The WHIP muxer of FFmpeg 8.1, which is the DTLS server.
    static let ffmpegPublish = lines(
        """
        v=0
        o=FFmpeg 4489045141692799359 2 IN IP4 127.0.0.1
        s=FFmpegPublishSession
        t=0 0
        a=group:BUNDLE 0 1
        a=extmap-allow-mixed
        a=msid-semantic: WMS
        m=audio 9 UDP/TLS/RTP/SAVPF 111
        c=IN IP4 0.0.0.0
        a=ice-ufrag:e6fbd492
        a=ice-pwd:dd740d451d3a91e9d58b199380b252dc
        a=fingerprint:sha-256 C7:FB:F2:53:C4:1E:B8:42:63:4B:4D:E2:1E:59:B8:E8:50:19:A9:A0:65:EA:7E:C1:37:93:05:D0:B5:26:06:9C
        a=setup:passive
        a=mid:0
        a=sendonly
        a=msid:FFmpeg audio
        a=rtcp-mux
        a=rtpmap:111 opus/48000/2
        a=ssrc:1161587016 cname:FFmpeg
        a=ssrc:1161587016 msid:FFmpeg audio
        m=video 9 UDP/TLS/RTP/SAVPF 106 105
        c=IN IP4 0.0.0.0
        a=ice-ufrag:e6fbd492
        a=ice-pwd:dd740d451d3a91e9d58b199380b252dc
        a=fingerprint:sha-256 C7:FB:F2:53:C4:1E:B8:42:63:4B:4D:E2:1E:59:B8:E8:50:19:A9:A0:65:EA:7E:C1:37:93:05:D0:B5:26:06:9C
        a=setup:passive
        a=mid:1
        a=sendonly
        a=msid:FFmpeg video
        a=rtcp-mux
        a=rtcp-rsize
        a=rtpmap:106 H264/90000
        a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42000d
        a=rtcp-fb:106 nack
        a=rtpmap:105 rtx/90000
        a=fmtp:105 apt=106
        a=ssrc-group:FID 1161587017 1161587018
        a=ssrc:1161587017 cname:FFmpeg
        a=ssrc:1161587017 msid:FFmpeg video
        """)

    /// The WHIP muxer of FFmpeg 8.1 as DTLS client.
    static let ffmpegActive = lines(
        """
        v=0
        o=FFmpeg 4489045141692799359 2 IN IP4 127.0.0.1
        s=FFmpegPublishSession
        t=0 0
        a=group:BUNDLE 0 1
        a=extmap-allow-mixed
        a=msid-semantic: WMS
        m=audio 9 UDP/TLS/RTP/SAVPF 111
        c=IN IP4 0.0.0.0
        a=ice-ufrag:cee9ec4a
        a=ice-pwd:5feac7fc947e75528d0255836fdb7225
        a=fingerprint:sha-256 13:58:A5:12:F9:B9:1C:40:FF:5C:EF:C2:42:3C:CF:A7:44:DC:C1:3A:ED:BE:F4:93:D0:8A:81:4A:29:3E:26:2B
        a=setup:active
        a=mid:0
        a=sendonly
        a=msid:FFmpeg audio
        a=rtcp-mux
        a=rtpmap:111 opus/48000/2
        a=ssrc:503295562 cname:FFmpeg
        a=ssrc:503295562 msid:FFmpeg audio
        m=video 9 UDP/TLS/RTP/SAVPF 106 105
        c=IN IP4 0.0.0.0
        a=ice-ufrag:cee9ec4a
        a=ice-pwd:5feac7fc947e75528d0255836fdb7225
        a=fingerprint:sha-256 13:58:A5:12:F9:B9:1C:40:FF:5C:EF:C2:42:3C:CF:A7:44:DC:C1:3A:ED:BE:F4:93:D0:8A:81:4A:29:3E:26:2B
        a=setup:active
        a=mid:1
        a=sendonly
        a=msid:FFmpeg video
        a=rtcp-mux
        a=rtcp-rsize
        a=rtpmap:106 H264/90000
        a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42000d
        a=rtcp-fb:106 nack
        a=rtpmap:105 rtx/90000
        a=fmtp:105 apt=106
        a=ssrc-group:FID 503295563 503295564
        a=ssrc:503295563 cname:FFmpeg
        a=ssrc:503295563 msid:FFmpeg video
        """)
}
