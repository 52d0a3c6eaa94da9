/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The same machine with another UUID and other hardware addresses: said at the end, and nothing else changes. */
#include "common.h"

#define UUID "12345678-1234-4123-8123-123456789abc"
static const char *const macs[] = {"00:16:3e:00:00:0a", "00:16:3e:00:00:0b"};
static const struct config_identity both = {UUID, macs, false};

static void assert_becomes(const char *text, const struct config_identity *id, const char *addition)
{
    struct vmundo_error err = {0};
    AUTO_FREE char *got = NULL, *want = str_printf(NULL, "%s%s", text, addition);
    if (config_identify(text, "/cfg/test.cfg", id, &got, &err) < 0)
        fail_msg("%s", err.msg);
    assert_text(got, want);
}

static void test_network_cards(void **state)
{
    (void)state;
    assert_becomes("name = 'a'\nmemory = 1\nuuid = \"87654321-1234-4123-8123-123456789abc\"\n"
                   "vif = [ 'mac=00:16:3e:00:00:01, model=e1000,vifname=tap0', \"bridge=br0\" ]\n",
                   &both,
                   "uuid = \"" UUID "\"\n"
                   "vif = [ 'model=e1000,mac=00:16:3e:00:00:0a', 'bridge=br0,mac=00:16:3e:00:00:0b' ]\n");
}

/* A list put together in pieces, an empty card, and a last line without an end. */
static void test_pieces(void **state)
{
    (void)state;
    assert_becomes("name = 'a'\nvif = [ '' ]\nvif += [ 'rate=10Mb/s' ]\nmemory = 1", &both,
                   "\nuuid = \"" UUID "\"\n"
                   "vif = [ 'mac=00:16:3e:00:00:0a', 'rate=10Mb/s,mac=00:16:3e:00:00:0b' ]\n");
}

static void test_none(void **state)
{
    (void)state;
    static const struct config_identity alone = {UUID, NULL, true};
    assert_becomes("name = 'a'\nmemory = 1\n", &alone, "uuid = \"" UUID "\"\n");
    assert_becomes("name = 'a'\nmemory = 1\nvif = [ '', '' ]\n", &alone, "uuid = \"" UUID "\"\nvif = [ ]\n");
}

/* Again of what came of it: the last counts. */
static void test_again(void **state)
{
    (void)state;
    static const char *const other[] = {"00:16:3e:00:00:0c"};
    static const struct config_identity next = {"aaaaaaaa-1234-4123-8123-123456789abc", other, false};
    struct vmundo_error err = {0};
    AUTO_FREE char *one = NULL, *two = NULL;
    AUTO_DOMAIN struct domain d = {0};
    assert_int_equal(config_identify("name = 'a'\nmemory = 1\nvif = [ 'bridge=x' ]\n", "/x.cfg", &both, &one, &err), 0);
    assert_int_equal(config_identify(one, "/x.cfg", &next, &two, &err), 0);
    d = parse_ok(two);
    assert_text(d.uuid, next.uuid);
    assert_int_equal(d.n_vifs, 1);
    assert_text(d.vifs[0].mac, other[0]);
    assert_text(d.vifs[0].bridge, "x");
}

static void test_refused(void **state)
{
    (void)state;
    static const struct config_identity bad = {"no uuid", NULL, true};
    struct vmundo_error err = {0};
    AUTO_FREE char *got = NULL;
    assert_int_equal(config_identify("name = 'a'\nmemory = 1\n", "/x.cfg", &bad, &got, &err), -1);
    assert_says(&err, "/x.cfg");
    assert_null(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_network_cards), cmocka_unit_test(test_pieces),  cmocka_unit_test(test_none),
        cmocka_unit_test(test_again),         cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
