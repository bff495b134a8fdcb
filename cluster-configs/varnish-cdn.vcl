vcl 4.1;
# The same as nginx-cdn.conf for Varnish 6 or later, without signed paths. See docs/cdn.md.
# varnishd -a :8090 -f varnish-cdn.vcl -s malloc,4G -p thread_pools=2 -p thread_pool_max=5000

import directors;

probe listening {
    .url = "/";
    .interval = 1s;
    .timeout = 1s;
    .window = 3;
    .threshold = 2;
}
backend edge1 { .host = "127.0.0.1"; .port = "8081"; .first_byte_timeout = 30s; .connect_timeout = 1s; .probe = listening; }
backend edge2 { .host = "127.0.0.1"; .port = "8082"; .first_byte_timeout = 30s; .connect_timeout = 1s; .probe = listening; }

sub vcl_init {
    new edges = directors.shard();
    edges.add_backend(edge1);
    edges.add_backend(edge2);
    edges.reconfigure();
}

sub vcl_recv {
    if (req.method != "GET" && req.method != "HEAD") { return (pass); }
    unset req.http.Cookie;
    # Of the query only what changes an object, in one order.
    set req.http.X-Weir-Path = regsub(req.url, "\?.*$", "");
    set req.http.X-Weir-Query =
        regsub(req.url, "^[^?]*(?:\?(?:.*&)?(_HLS_msn=[0-9]+))?.*$", "\1") + "&" +
        regsub(req.url, "^[^?]*(?:\?(?:.*&)?(_HLS_part=[0-9]+))?.*$", "\1") + "&" +
        regsub(req.url, "^[^?]*(?:\?(?:.*&)?(_HLS_skip=[A-Za-z0-9]+))?.*$", "\1") + "&" +
        regsub(req.url, "^[^?]*(?:\?(?:.*&)?(dvr=[0-9]+))?.*$", "\1") + "&" +
        regsub(req.url, "^[^?]*(?:\?(?:.*&)?(vhost=[^&]+))?.*$", "\1");
    # A stream's own files and those in its folder are asked of the same edge.
    set req.http.X-Weir-Stream = regsub(req.http.X-Weir-Path, "(/_[^/]+|\.(m3u8|mpd|jpg))$", "");
    set req.backend_hint = edges.backend(by = KEY, key = edges.key(req.http.X-Weir-Stream));
    # Endless streams and downloads go through.
    if (req.http.X-Weir-Path ~ "\.flv$") { return (pipe); }
    if (req.http.X-Weir-Path ~ "/_rec-[0-9]+-[0-9]+\.mp4$") { return (pass); }
    return (hash);
}

sub vcl_hash {
    hash_data(req.http.X-Weir-Path);
    hash_data(req.http.X-Weir-Query);
    hash_data(req.http.Host);
    return (lookup);
}

sub vcl_backend_response {
    # The lifetime is the edges' Cache-Control. An old playlist is never better than waiting for the new one.
    set beresp.grace = 0s;
    set beresp.keep = 10s;
    # A failure is remembered for a second, like what is not there, so that edges are not asked by each viewer.
    if (beresp.status >= 500) {
        set beresp.ttl = 1s;
    }
    return (deliver);
}

sub vcl_deliver {
    if (obj.hits > 0) { set resp.http.X-Cache = "HIT"; } else { set resp.http.X-Cache = "MISS"; }
}
