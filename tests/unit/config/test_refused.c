/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test_refused.c: configurations that are wrong, each with the message that says where and why. */
#include "common.h"

static const struct {
    const char *text, *part;
} cases[] = {
    /* syntax, with its line */
    {"name='x'\n\n]\n", "/cfg/test.cfg:3: config parsing error near `]': syntax error"},
    {"name='x'\nmemory=\n", "/cfg/test.cfg:2: "},
    {"name='x", "/cfg/test.cfg:1: "},
    {"name='x'\ndisk=['/a,raw,xvda'\nmemory=1\n", "/cfg/test.cfg:3: "},
    {"name='x'\nmemory=1 vcpus=2\n", "/cfg/test.cfg:2: "},
    {"name='x'\nimport os\n", "/cfg/test.cfg:2: "},
    {"name='x'\nNAME='y'\n", "/cfg/test.cfg:2: config parsing error near `NAME='y'': lexical error"},
    {"name='x\\q'\n", "/cfg/test.cfg:1: config parsing error near `'x\\q'': invalid character after backlash"},
    {"name='x'\ndisk='a'\ndisk+=['b']\n", "can't add [list] to \"string\""},
    {"name='x'\r\nmemory=1\r\n", "(the file has DOS line ends, which xl does not read)"},
    {"name='x'\nmemory=1 # one", "(the last line has a comment, but no line end, without which xl does not read it)"},
    {"\xef\xbb\xbfname='x'\n", "/cfg/test.cfg:1: "},
    /* the name */
    {"", "/cfg/test.cfg: the domain has no name: add name = "},
    {"memory=64\n", "/cfg/test.cfg: the domain has no name"},
    {"name=''\n", "/cfg/test.cfg: the domain has no name"},
    {"\nname='a123456789012345678901234567890123456789012345678901234567890123'\n", "/cfg/test.cfg:2: bad name 'a123"},
    {"name='a/b'\n", "/cfg/test.cfg:1: bad name 'a/b'"},
    {"name='a\\nb'\n", "/cfg/test.cfg:1: bad name 'a\\x0ab'"},
    {"name='-a'\n", "/cfg/test.cfg:1: bad name '-a'"},
    {"name='..'\n", "/cfg/test.cfg:1: bad name '..'"},
    {"name=['x']\n", "/cfg/test.cfg:1: parameter `name' is a list but should be a single value"},
    /* numbers */
    {"name='x'\nmemory=0\n", "/cfg/test.cfg:2: memory is 0: it must be from 1 to 16777216"},
    {"name='x'\nmemory='-64'\n", "/cfg/test.cfg:2: memory is -64: "},
    {"name='x'\nmemory=16777217\n", "/cfg/test.cfg:2: memory is 16777217: "},
    {"name='x'\nmemory=99999999999999999999\n", "/cfg/test.cfg:2: parameter `memory' could not be parsed as a number"},
    {"name='x'\nmemory='64M'\n", "/cfg/test.cfg:2: parameter `memory' is not a valid number"},
    {"name='x'\nmemory=''\n", "/cfg/test.cfg:2: parameter `memory' is not a valid number"},
    {"name='x'\nmemory=[64]\n", "/cfg/test.cfg:2: parameter `memory' is a list"},
    {"name='x'\nmemory=64\nmemory+=64\n", "/cfg/test.cfg:3: can't use += with numbers"},
    {"name='x'\nmemory=64\nmaxmem=63\n", "/cfg/test.cfg:2: memory is more than maxmem"},
    {"name='x'\nvcpus='two'\n", "/cfg/test.cfg:2: parameter `vcpus' is not a valid number"},
    {"name='x'\nvcpus=0\n", "/cfg/test.cfg:2: vcpus is 0: it must be from 1 to 8192"},
    {"name='x'\nvcpus=8193\n", "/cfg/test.cfg:2: vcpus is 8193: "},
    {"name='x'\nmaxvcpus=2\nvcpus=3\n", "/cfg/test.cfg:3: vcpus is more than maxvcpus"},
    /* words */
    {"name='x'\ntype='vm'\n", "/cfg/test.cfg:2: bad type 'vm': it is one of pv, pvh, hvm"},
    {"name='x'\nbuilder='linux'\n", "/cfg/test.cfg:2: bad builder 'linux': it is one of generic, hvm"},
    {"name='x'\ntype='pvh'\nbuilder='hvm'\n", "/cfg/test.cfg:3: builder and type contradict each other"},
    {"name='x'\non_crash='explode'\n", "/cfg/test.cfg:2: bad on_crash 'explode': it is one of destroy, restart"},
    {"name='x'\nuuid='1234'\n", "/cfg/test.cfg:2: bad uuid"},
    {"name='x'\nboot='cd,menu=on'\n", "/cfg/test.cfg:2: bad boot order"},
    {"name='x'\nkernel='/boot\\n/x'\n", "/cfg/test.cfg:2: control character in the path of kernel"},
    {"name='x'\nextra=['a']\n", "/cfg/test.cfg:2: parameter `extra' is a list"},
    {"name='x'\nserial=['a',['b']]\n", "/cfg/test.cfg:2: member 2 of the list serial is not a string"},
    /* disks */
    {"name='x'\ndisk='/a,raw,xvda'\n", "/cfg/test.cfg:2: parameter `disk' is a single value but should be a list"},
    {"name='x'\ndisk=['/a,raw,xvda',\n\n['/b,raw,xvdb']]\n",
     "/cfg/test.cfg:4: member 2 of the list disk is not a string"},
    {"name='x'\ndisk=['/a,raw,xvda',\n'/b,zip,xvdb']\n",
     "/cfg/test.cfg:3: config parsing error in disk specification: unknown value for format: near `zip'"},
    {"name='x'\ndisk=[\n7]\n", "/cfg/test.cfg:3: config parsing error in disk specification: no vdev"},
    {"name='x'\ndisk=['/a,raw,xvda']\ndisk+=['/b,raw,xvda']\n", "/cfg/test.cfg:3: two disks are called xvda"},
    {"name='x'\ndisk=['/a,raw,xvda','/a,raw,xvdb']\n", "/cfg/test.cfg:2: disks xvda and xvdb have the same target /a"},
    {"name='x'\ndisk=['/a,raw,xvda,r','/a,raw,xvdb,w']\n", "disks xvda and xvdb have the same target /a"},
    {"name='x'\ndisk=['/a/b,raw,xvda','//a/.//./b,raw,xvdb']\n", "have the same target //a/.//./b"},
    {"name='x'\ndisk=['b,raw,xvda','./b,raw,xvdb','/cfg/b,raw,xvdc']\n", "disks xvda and xvdb have the same target"},
    {"name='x'\ndisk=['rbd:p/i,raw,xvda','rbd:p/i,raw,xvdb']\n", "have the same target rbd:p/i"},
    {"name='x'\ndisk=['/a\\n,raw,xvda']\n", "/cfg/test.cfg:2: control character in disk `/a\\x0a,raw,xvda'"},
    {"name='x'\ndisk=['/a\\tb,raw,xvda']\n", "/cfg/test.cfg:2: control character in the target of disk xvda"},
    {"name='x'\ndisk=['/a,raw,../x']\n", "/cfg/test.cfg:2: bad virtual device"},
    /* network */
    {"name='x'\nvif='bridge=a'\n", "/cfg/test.cfg:2: parameter `vif' is a single value"},
    {"name='x'\nvif=['',\n'mac=00:16:3e:00:00']\n", "/cfg/test.cfg:3: bad mac in vif"},
    {"name='x'\nvif=['mac=00:16:3e:00:00:01:02']\n", "bad mac in vif"},
    {"name='x'\nvif=['mac=00:16:3e:00:00:0g']\n", "bad mac in vif"},
    {"name='x'\nvif=['mac=']\n", "bad mac in vif"},
    {"name='x'\nvif=['type=fast']\n", "/cfg/test.cfg:2: bad type in vif"},
    {"name='x'\nvif=['bridge=a\\nb']\n", "/cfg/test.cfg:2: control character in vif"},
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct domain d = {0};
        struct vmundo_error err = {0};
        if (config_parse(cases[i].text, "/cfg/test.cfg", &d, &err) == 0)
            fail_msg("taken: %s", cases[i].text);
        print_message("%s\n", err.msg);
        assert_says(&err, cases[i].part);
        assert_null(d.name);
        assert_null(strchr(err.msg, '\n'));
        assert_int_equal(config_parse(cases[i].text, "/cfg/test.cfg", &d, NULL), -1);
    }
}

/* n times part, after the name and what opens it. The caller frees it. */
static char *repeated(const char *open, const char *part, size_t n, const char *close)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    fprintf(f, "name='x'\n%s", open);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%s", part);
    fprintf(f, "%s\n", close);
    fclose(f);
    return text;
}

static void assert_refused(const char *text, const char *part)
{
    struct domain d = {0};
    struct vmundo_error err = {0};
    assert_int_equal(config_parse(text, "/cfg/test.cfg", &d, &err), -1);
    assert_says(&err, part);
}

static void test_too_much(void **state)
{
    (void)state;
    AUTO_FREE char *settings = repeated("", "a=1\n", 5000, "");
    assert_refused(settings, "more than 4096 settings");
    AUTO_FREE char *disks = repeated("disk=[", "'/a,raw,xvda,r',", 2000, "]");
    assert_refused(disks, "more than 1024 disks");
    AUTO_FREE char *nested = repeated("a=", "[", 100000, "");
    assert_refused(nested, "memory exhausted");
    AUTO_FREE char *large = repeated("", "# comment\n", 200000, "");
    assert_refused(large, "too large");
}

/* A path or a text with line ends and escape sequences gives one safe line. */
static void test_message_is_safe(void **state)
{
    (void)state;
    struct domain d = {0};
    struct vmundo_error err = {0};
    assert_int_equal(config_parse("name='x'\n\x1b[31m\n", "/c\nfg/\x1b[1m", &d, &err), -1);
    assert_says(&err, "/c\\x0afg/\\x1b[1m:2: config parsing error near `\\x1b[31m'");
    assert_int_equal(config_parse("memory=1\n", "/c\nfg", &d, &err), -1);
    assert_says(&err, "/c\\x0afg: the domain has no name");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_message_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
