// SPDX-License-Identifier: Apache-2.0
// Debian's libcurl.a refers to GSSAPI, RTMP and LDAP, of which Debian has no static library that
// could be linked. Only http and https are allowed in transfers, and no authentication but what
// we write into headers, so none of these is ever called; they say that they failed. In a static
// build only: elsewhere the libraries are there.
#ifdef STATIC_STUBS

// The names and what they are is the libraries' own; no header of theirs is included.
#define FAILS(name) \
    int name(void) { return -1; }
#define GIVES_NOTHING(name) \
    void *name(void) { return 0; }
// GSS_S_FAILURE.
#define FAILS_AS_GSS(name) \
    unsigned int name(void) { return 13u << 16; }

void *GSS_C_NT_HOSTBASED_SERVICE = 0;
FAILS_AS_GSS(gss_delete_sec_context)
FAILS_AS_GSS(gss_display_name)
FAILS_AS_GSS(gss_display_status)
FAILS_AS_GSS(gss_import_name)
FAILS_AS_GSS(gss_init_sec_context)
FAILS_AS_GSS(gss_inquire_context)
FAILS_AS_GSS(gss_release_buffer)
FAILS_AS_GSS(gss_release_name)
FAILS_AS_GSS(gss_unwrap)
FAILS_AS_GSS(gss_wrap)

// RTMP's functions return TRUE where they succeed.
#define IS_FALSE(name) \
    int name(void) { return 0; }

GIVES_NOTHING(RTMP_Alloc)
IS_FALSE(RTMP_Close)
IS_FALSE(RTMP_Connect1)
IS_FALSE(RTMP_ConnectStream)
IS_FALSE(RTMP_Free)
IS_FALSE(RTMP_Init)
FAILS(RTMP_Read)
IS_FALSE(RTMP_SetBufferMS)
IS_FALSE(RTMP_SetupURL)
FAILS(RTMP_Write)

FAILS(ber_bvfree)
FAILS(ber_free)
FAILS(ber_memfree)
FAILS(ber_memvfree)
FAILS(ber_sockbuf_add_io)
FAILS(ldap_abandon_ext)
GIVES_NOTHING(ldap_err2string)
FAILS(ldap_free_urldesc)
FAILS(ldap_get_attribute_ber)
FAILS(ldap_get_dn_ber)
FAILS(ldap_get_option)
FAILS(ldap_init_fd)
FAILS(ldap_memfree)
FAILS(ldap_msgfree)
FAILS(ldap_msgtype)
FAILS(ldap_parse_result)
FAILS(ldap_parse_sasl_bind_result)
FAILS(ldap_pvt_url_scheme2proto)
FAILS(ldap_result)
FAILS(ldap_sasl_bind)
FAILS(ldap_search_ext)
FAILS(ldap_set_option)
FAILS(ldap_start_tls)
FAILS(ldap_unbind_ext)
FAILS(ldap_url_parse)

#else

// A file without a declaration is not C.
typedef int ccurl_needs_no_stubs;

#endif
