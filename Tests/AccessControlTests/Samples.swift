/// Keys for the tests of settings; nobody has their private halves.
enum Samples {
    static let p256 = """
        -----BEGIN PUBLIC KEY-----
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0Pty8gnTg+U1NWI/I5s4Lii0cf7U
        PC5Is8O6t8QJAzgtItG/lGzka7YsrC/38io1pvK6JParKXzRQeN8r1eVjQ==
        -----END PUBLIC KEY-----
        """
    static let p384 = """
        -----BEGIN PUBLIC KEY-----
        MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAENFuBJ+zX4IChbxYsk1MIOeb3r6NkyxWI
        KgDXKo/rAi9UTvJIgG9N/lNg2+fcyiafUO2YIuWXTo+wH2thK8RetP7rQZgPsnD2
        l4+jbQo9br+qysSsdgJjm5HR/v9HzShQ
        -----END PUBLIC KEY-----
        """
    static let rsa2048 = """
        -----BEGIN PUBLIC KEY-----
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA9s+uGva79eb64rVGkJaz
        F8X7NS9VwpLJeMNgxwkpIvWrhhydgW67+3Ec/Z+1+lMoiIIw3GjrakVZca7rfKbr
        kDJjZw/JMBfBkv/4/6eR6y0mtiWR1B6yz3A0zR1hbTbAMULRYNxv5VgTlC31aS2b
        exyZd1///UgmN58TIIM2hbzB7jhSG2E+iNICdyKeieXJk8GXR9anW/srSdS+kVC7
        FYYaj83ZLASVxtARLa6MTcaT4eRLpzjCUOXSSIwPbkiiS7ryUqcwTWb78yHWRAuV
        FG3OiPILP3QocbPPXZXCwWebMEBv8MriEA4qOeo4dLb4tQcpjPQdMOKbB94/J4Xo
        nQIDAQAB
        -----END PUBLIC KEY-----
        """
    static let rsa1024 = """
        -----BEGIN PUBLIC KEY-----
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC1vICKe+lo9bPe5uOFhIwKKkOc
        qze6K98j/qpII7iw7YR8KCD856pmrlTkhykao9jxgQNhQ/QV6hlReW7WDivdhIFC
        +r9E6aiP4qyzWaK9KHzl/fun+Q2yPyBSISShNdgNfgF1qetH4L0TJgxzmuh2uqMK
        txk0O5tGThtGJsIL0wIDAQAB
        -----END PUBLIC KEY-----
        """
    static let certificate = """
        -----BEGIN CERTIFICATE-----
        MIIBiTCCAS+gAwIBAgIUHxs/FhGh96FVbeeggJS1zaRG8XAwCgYIKoZIzj0EAwIw
        GTEXMBUGA1UEAwwOaXNzdWVyLmV4YW1wbGUwIBcNMjYxMTIzMDQyMDQ2WhgPMjEy
        NjEwMzAwNDIwNDZaMBkxFzAVBgNVBAMMDmlzc3Vlci5leGFtcGxlMFkwEwYHKoZI
        zj0CAQYIKoZIzj0DAQcDQgAE0Pty8gnTg+U1NWI/I5s4Lii0cf7UPC5Is8O6t8QJ
        AzgtItG/lGzka7YsrC/38io1pvK6JParKXzRQeN8r1eVjaNTMFEwHQYDVR0OBBYE
        FFLNotyhpCcp1TX5RjUcVQn7UIUSMB8GA1UdIwQYMBaAFFLNotyhpCcp1TX5RjUc
        VQn7UIUSMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAN78KoQD
        XsVZ7F9hmEu1AvdKXLcdqH+1RxwCVqSY9aSkAiALUPJMbsQrVdXt+GIX76TO3FNm
        KSdrIwbcCXEKZKstkA==
        -----END CERTIFICATE-----
        """
}
