/// In the manner of programs that are not at hand in tests.
extension Offers {
    private static let fingerprint =
        "sha-256 8A:44:0C:73:0F:02:9D:11:5E:27:BB:60:9C:E5:3A:71:48:D0:2C:96:1F:83:A7:E4:56:BD:19:38:CA:70:FE:05"

    /// Firefox: fingerprint and ICE options for the session, extensions with directions, VP8 in front, `sprop-stereo`.
    static let firefoxPublish = lines(
        """
        v=0
        o=mozilla...THIS_IS_SDPARTA-99.0 4093856420152871 0 IN IP4 0.0.0.0
        s=-
        t=0 0
        a=fingerprint:\(fingerprint)
        a=group:BUNDLE 0 1
        a=ice-options:trickle
        a=msid-semantic:WMS *
        m=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101
        c=IN IP4 0.0.0.0
        a=sendonly
        a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
        a=extmap:2/recvonly urn:ietf:params:rtp-hdrext:csrc-audio-level
        a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
        a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1
        a=fmtp:101 0-15
        a=ice-pwd:0f3ed5a0c13e1e3e5b7a9d2b8c4f6071
        a=ice-ufrag:7b21c9de
        a=mid:0
        a=msid:{0d4c1a1e-7b0e-4b5c-9d55-1f8f1d6b0c11} {c2f4a0f7-6a2f-4d9c-8a5f-6a6f0d2c7e01}
        a=rtcp-mux
        a=rtpmap:109 opus/48000/2
        a=rtpmap:9 G722/8000/1
        a=rtpmap:0 PCMU/8000
        a=rtpmap:8 PCMA/8000
        a=rtpmap:101 telephone-event/8000/1
        a=setup:actpass
        a=ssrc:2203217853 cname:{5b1e0e6f-5c0c-4e0e-8f5c-3a0f7b0b1f1a}
        m=video 9 UDP/TLS/RTP/SAVPF 120 124 121 125 126 127 97 98 123 122 119
        c=IN IP4 0.0.0.0
        a=sendonly
        a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
        a=extmap:4 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
        a=extmap:5 urn:ietf:params:rtp-hdrext:toffset
        a=extmap:6/recvonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay
        a=extmap:7 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
        a=fmtp:126 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1
        a=fmtp:97 profile-level-id=42e01f;level-asymmetry-allowed=1
        a=fmtp:120 max-fs=12288;max-fr=60
        a=fmtp:124 apt=120
        a=fmtp:121 max-fs=12288;max-fr=60
        a=fmtp:125 apt=121
        a=fmtp:127 apt=126
        a=fmtp:98 apt=97
        a=fmtp:119 apt=122
        a=ice-pwd:0f3ed5a0c13e1e3e5b7a9d2b8c4f6071
        a=ice-ufrag:7b21c9de
        a=mid:1
        a=msid:{0d4c1a1e-7b0e-4b5c-9d55-1f8f1d6b0c11} {8e7c1c1f-39fb-4a2a-9a1b-2f5c5d0f5b02}
        a=rtcp-fb:120 nack
        a=rtcp-fb:120 nack pli
        a=rtcp-fb:120 ccm fir
        a=rtcp-fb:120 goog-remb
        a=rtcp-fb:120 transport-cc
        a=rtcp-fb:126 nack
        a=rtcp-fb:126 nack pli
        a=rtcp-fb:126 ccm fir
        a=rtcp-fb:126 goog-remb
        a=rtcp-fb:126 transport-cc
        a=rtcp-mux
        a=rtcp-rsize
        a=rtpmap:120 VP8/90000
        a=rtpmap:124 rtx/90000
        a=rtpmap:121 VP9/90000
        a=rtpmap:125 rtx/90000
        a=rtpmap:126 H264/90000
        a=rtpmap:127 rtx/90000
        a=rtpmap:97 H264/90000
        a=rtpmap:98 rtx/90000
        a=rtpmap:123 ulpfec/90000
        a=rtpmap:122 red/90000
        a=rtpmap:119 rtx/90000
        a=setup:actpass
        a=ssrc:3229706345 cname:{5b1e0e6f-5c0c-4e0e-8f5c-3a0f7b0b1f1a}
        a=ssrc:874214413 cname:{5b1e0e6f-5c0c-4e0e-8f5c-3a0f7b0b1f1a}
        a=ssrc-group:FID 3229706345 874214413
        """)

    static let firefoxPlay = firefoxPublish.replacing("a=sendonly", with: "a=recvonly")

    /// Safari: H.264 High and Constrained Baseline in front, HEVC, addresses hidden behind mDNS names.
    static let safariPublish = lines(
        """
        v=0
        o=- 3861204573348011842 2 IN IP4 127.0.0.1
        s=-
        t=0 0
        a=group:BUNDLE 0 1
        a=extmap-allow-mixed
        a=msid-semantic: WMS 2f2a3d1c-7f7e-4a4d-8f0f-5d4f1f6ab1f0
        m=video 50012 UDP/TLS/RTP/SAVPF 96 97 98 99 100 101 102 125 104
        c=IN IP4 0.0.0.0
        a=rtcp:9 IN IP4 0.0.0.0
        a=candidate:842163049 1 udp 2113937151 7c0fe4a2-93b1-4a6d-bb0c-f1a7d3f2d8a1.local 50012 typ host generation 0 network-cost 999
        a=ice-ufrag:Qf3v
        a=ice-pwd:jX2eYl7Q0gS8Tn4pCk5uWb1d
        a=ice-options:trickle
        a=fingerprint:\(fingerprint)
        a=setup:actpass
        a=mid:0
        a=extmap:1 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
        a=extmap:2 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
        a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
        a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
        a=extmap:5 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id
        a=extmap:6 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay
        a=sendonly
        a=msid:2f2a3d1c-7f7e-4a4d-8f0f-5d4f1f6ab1f0 b1d2f3a4-0000-4111-8222-933344445555
        a=rtcp-mux
        a=rtcp-rsize
        a=rtpmap:96 H264/90000
        a=rtcp-fb:96 goog-remb
        a=rtcp-fb:96 transport-cc
        a=rtcp-fb:96 ccm fir
        a=rtcp-fb:96 nack
        a=rtcp-fb:96 nack pli
        a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f
        a=rtpmap:97 rtx/90000
        a=fmtp:97 apt=96
        a=rtpmap:98 H264/90000
        a=rtcp-fb:98 goog-remb
        a=rtcp-fb:98 transport-cc
        a=rtcp-fb:98 ccm fir
        a=rtcp-fb:98 nack
        a=rtcp-fb:98 nack pli
        a=fmtp:98 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
        a=rtpmap:99 rtx/90000
        a=fmtp:99 apt=98
        a=rtpmap:100 H265/90000
        a=rtcp-fb:100 goog-remb
        a=rtcp-fb:100 transport-cc
        a=rtcp-fb:100 ccm fir
        a=rtcp-fb:100 nack
        a=rtcp-fb:100 nack pli
        a=fmtp:100 level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST
        a=rtpmap:101 rtx/90000
        a=fmtp:101 apt=100
        a=rtpmap:102 red/90000
        a=rtpmap:125 rtx/90000
        a=fmtp:125 apt=102
        a=rtpmap:104 ulpfec/90000
        a=ssrc-group:FID 1120338912 2290012931
        a=ssrc:1120338912 cname:4s1Lk0V0aY7cU3pQ
        a=ssrc:2290012931 cname:4s1Lk0V0aY7cU3pQ
        m=audio 9 UDP/TLS/RTP/SAVPF 111 9 0 8 13
        c=IN IP4 0.0.0.0
        a=rtcp:9 IN IP4 0.0.0.0
        a=ice-ufrag:Qf3v
        a=ice-pwd:jX2eYl7Q0gS8Tn4pCk5uWb1d
        a=fingerprint:\(fingerprint)
        a=setup:actpass
        a=mid:1
        a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
        a=sendonly
        a=rtcp-mux
        a=rtpmap:111 opus/48000/2
        a=rtcp-fb:111 transport-cc
        a=fmtp:111 minptime=10;useinbandfec=1
        a=rtpmap:9 G722/8000
        a=rtpmap:0 PCMU/8000
        a=rtpmap:8 PCMA/8000
        a=rtpmap:13 CN/8000
        a=ssrc:3718223001 cname:4s1Lk0V0aY7cU3pQ
        """)

    static let safariPlay = safariPublish.replacing("a=sendonly", with: "a=recvonly")

    /// OBS, whose library writes one codec per section, names them in words and has no header extensions.
    static let obsPublish = lines(
        """
        v=0
        o=rtc 1903822118 0 IN IP4 127.0.0.1
        s=-
        t=0 0
        a=group:BUNDLE 0 1
        a=group:LS 0 1
        a=msid-semantic:WMS *
        a=setup:actpass
        a=ice-ufrag:Vd6K
        a=ice-pwd:rT5pX8wLq2nYc0ZbH3mEvU
        a=ice-options:ice2,trickle
        a=fingerprint:\(fingerprint)
        m=audio 9 UDP/TLS/RTP/SAVPF 111
        c=IN IP4 0.0.0.0
        a=mid:0
        a=sendonly
        a=ssrc:1389412201 cname:4fQz0jzH3xvZKx0b
        a=ssrc:1389412201 msid:obs-9sKd2 obs-9sKd2-audio
        a=msid:obs-9sKd2 obs-9sKd2-audio
        a=rtcp-mux
        a=rtpmap:111 opus/48000/2
        a=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1
        m=video 9 UDP/TLS/RTP/SAVPF 96
        c=IN IP4 0.0.0.0
        a=mid:1
        a=sendonly
        a=ssrc:1389412202 cname:4fQz0jzH3xvZKx0b
        a=ssrc:1389412202 msid:obs-9sKd2 obs-9sKd2-video
        a=msid:obs-9sKd2 obs-9sKd2-video
        a=rtcp-mux
        a=rtpmap:96 H264/90000
        a=rtcp-fb:96 nack
        a=rtcp-fb:96 nack pli
        a=rtcp-fb:96 goog-remb
        a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1
        """)
}
