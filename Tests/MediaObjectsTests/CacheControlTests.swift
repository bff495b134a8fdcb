import Testing

@testable import MediaObjects

@Suite("CacheControl")
struct CacheControlTests {
    @Test(
        "a lifetime is told to shared caches, and to players' own only if it is long",
        arguments: [
            (MediaObject.Lifetime.immutable, "public, max-age=31536000, immutable"), (.uncacheable, "no-store"),
            (.seconds(0), "public, max-age=0, s-maxage=1"), (.seconds(0.2), "public, max-age=0, s-maxage=1"),
            (.seconds(1), "public, max-age=0, s-maxage=1"), (.seconds(2.9), "public, max-age=0, s-maxage=2"),
            (.seconds(10), "public, max-age=0, s-maxage=10"), (.seconds(10.5), "public, max-age=10"),
            (.seconds(1e12), "public, max-age=31536000"), (.seconds(-.infinity), "public, max-age=0, s-maxage=1"),
        ])
    func written(lifetime: MediaObject.Lifetime, text: String) {
        #expect(lifetime.cacheControl == text)
    }

    @Test("what is written is read as the lifetime in a shared cache")
    func readBack() {
        for lifetime in [MediaObject.Lifetime.immutable, .uncacheable, .seconds(1), .seconds(3), .seconds(60)] {
            #expect(MediaObject.Lifetime(cacheControl: lifetime.cacheControl) == lifetime)
        }
    }

    @Test(
        "what others write is read, too",
        arguments: [
            ("max-age=5", MediaObject.Lifetime.seconds(5)), ("Max-Age=\"5\", S-MaxAge=7", .seconds(7)),
            ("public,max-age=60,private", .uncacheable), ("no-cache", .uncacheable), (" max-age = 9 ", .seconds(9)),
            ("max-age=1, immutable", .immutable),
        ])
    func others(text: String, lifetime: MediaObject.Lifetime) {
        #expect(MediaObject.Lifetime(cacheControl: text) == lifetime)
    }

    @Test(
        "without a number of seconds there is no lifetime",
        arguments: ["", "public", "immutable", "max-age", "max-age=", "max-age=-1", "max-age=x", "max-age=4294967296"])
    func nothing(text: String) {
        #expect(MediaObject.Lifetime(cacheControl: text) == nil)
    }
}
