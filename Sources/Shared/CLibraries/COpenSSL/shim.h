#pragma once
// SHA1_* is deprecated in favour of EVP, which costs a third more per packet: see weir_hmac_sha1.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/srtp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <stddef.h>
#include <string.h>
#include <sys/time.h>

// Macros with arguments, which the importer does not see.

static inline int weir_SSL_CTX_set_proto_versions(SSL_CTX *context, int minimum, int maximum) {
    return SSL_CTX_set_min_proto_version(context, minimum) && SSL_CTX_set_max_proto_version(context, maximum);
}

static inline long weir_SSL_CTX_set_mode(SSL_CTX *context, long mode) { return SSL_CTX_set_mode(context, mode); }

static inline long weir_SSL_CTX_set_session_cache_off(SSL_CTX *context) {
    return SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
}

static inline long weir_SSL_CTX_set_read_ahead(SSL_CTX *context, int on) {
    return SSL_CTX_set_read_ahead(context, on);
}

static inline int weir_SSL_CTX_set1_groups_list(SSL_CTX *context, const char *names) {
    return (int)SSL_CTX_set1_groups_list(context, names);
}

static inline int weir_SSL_CTX_add1_chain_cert(SSL_CTX *context, X509 *certificate) {
    return (int)SSL_CTX_add1_chain_cert(context, certificate);
}

static inline uint64_t weir_SSL_OP_NO_QUERY_MTU(void) { return SSL_OP_NO_QUERY_MTU; }
static inline uint64_t weir_SSL_OP_NO_TICKET(void) { return SSL_OP_NO_TICKET; }
static inline uint64_t weir_SSL_OP_NO_RENEGOTIATION(void) { return SSL_OP_NO_RENEGOTIATION; }
static inline uint64_t weir_SSL_OP_NO_COMPRESSION(void) { return SSL_OP_NO_COMPRESSION; }
static inline uint64_t weir_SSL_OP_CIPHER_SERVER_PREFERENCE(void) { return SSL_OP_CIPHER_SERVER_PREFERENCE; }

static inline long weir_SSL_set_mtu(SSL *ssl, long mtu) { return SSL_set_mtu(ssl, mtu); }

// The time until the retransmission timer fires, in microseconds; -1 while it is not armed.
static inline int64_t weir_DTLSv1_get_timeout(SSL *ssl) {
    struct timeval left;
    if (!DTLSv1_get_timeout(ssl, &left)) return -1;
    return (int64_t)left.tv_sec * 1000000 + left.tv_usec;
}

static inline int weir_DTLSv1_handle_timeout(SSL *ssl) { return (int)DTLSv1_handle_timeout(ssl); }

static inline void weir_BIO_set_retry_read(BIO *bio) { BIO_set_retry_read(bio); }
static inline void weir_BIO_clear_retry_flags(BIO *bio) { BIO_clear_retry_flags(bio); }

// Variadic functions.

static inline EVP_PKEY *weir_EVP_EC_gen(const char *curve) { return EVP_EC_gen(curve); }
static inline EVP_PKEY *weir_EVP_RSA_gen(unsigned int bits) { return EVP_RSA_gen(bits); }

// HMAC-SHA1 from the states after the inner and the outer padded key: two fewer blocks a packet than HMAC_Init, and
// 192 bytes a key where an HMAC_CTX holds three message digest contexts.

static inline void weir_hmac_sha1_key(SHA_CTX *inner, SHA_CTX *outer, const unsigned char *key, size_t length) {
    unsigned char block[SHA_CBLOCK];
    size_t i;
    memset(block, 0x36, sizeof(block));
    for (i = 0; i < length && i < sizeof(block); i++) block[i] ^= key[i];
    SHA1_Init(inner);
    SHA1_Update(inner, block, sizeof(block));
    for (i = 0; i < sizeof(block); i++) block[i] ^= 0x36 ^ 0x5c;
    SHA1_Init(outer);
    SHA1_Update(outer, block, sizeof(block));
    OPENSSL_cleanse(block, sizeof(block));
}

static inline void weir_hmac_sha1(
    const SHA_CTX *inner, const SHA_CTX *outer, const void *bytes, size_t length, const void *tail,
    size_t tail_length, unsigned char digest[SHA_DIGEST_LENGTH]) {
    SHA_CTX state = *inner;
    SHA1_Update(&state, bytes, length);
    SHA1_Update(&state, tail, tail_length);
    SHA1_Final(digest, &state);
    state = *outer;
    SHA1_Update(&state, digest, SHA_DIGEST_LENGTH);
    SHA1_Final(digest, &state);
}
