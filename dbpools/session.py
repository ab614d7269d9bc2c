"""Which statements may leave something in the session of a connection, by their text.

A pool resets a connection before it lends it again, and skips that where nothing can be left. The
answer here is "may change" for everything that is not known to be harmless. On MySQL the server
also tells when a statement has changed the session, by a trigger for example; what the server does
not tell is looked for here: user variables, locks, and functions that are not MySQL's own.
"""

import re
from functools import lru_cache

from dbpools.binding import MYSQL, SQLITE, Dialect, compile_statement

_READS = {"SELECT", "WITH", "VALUES", "EXPLAIN"}
_WRITES = {"INSERT", "UPDATE", "DELETE", "REPLACE"}
_HARMLESS = {
    SQLITE.name: {*_READS, *_WRITES, "CREATE", "DROP", "ALTER", "ANALYZE", "REINDEX", "VACUUM"},
    MYSQL.name: {*_READS, *_WRITES, "SHOW", "DESCRIBE", "DESC", "TABLE"},
}
# SQLite's temporary tables, also by the name of their schema.
_TEMPORARY = re.compile(r"\b(?:TEMP|TEMPORARY)\b", re.IGNORECASE)
# A variable of the user, not one of the system, whose changes the server tells.
_USER_VARIABLE = re.compile(r"(?<!@)@(?!@)")
# The list of columns behind a table's name is no call.
_COLUMN_LIST = re.compile(r"\bINTO\s+(?:[\w$]+\s*\.\s*)?[\w$]+\s*\(", re.IGNORECASE)
# Looked for at the beginning of a word only: a search at each letter of a long literal (0xFF...)
# takes minutes.
_CALL = re.compile(r"(?<![\w$])([\w$]+)\s*\(")


@lru_cache(maxsize=2048)
def may_change_session(sql: str, dialect: Dialect) -> bool:
    """Whether the statement may leave something behind that the next user would find."""
    statement = compile_statement(sql, dialect)
    if statement.verb not in _HARMLESS[dialect.name] or statement.is_several:
        return True
    if dialect.name == SQLITE.name:
        # A new table may name its schema in quotes, which `shape` does not have.
        text = sql if statement.verb == "CREATE" else statement.shape
        return _TEMPORARY.search(text) is not None
    calls = _CALL.findall(_COLUMN_LIST.sub(" ", statement.shape).upper())
    return (
        "/*!" in statement.shape  # MySQL runs such comments
        or _USER_VARIABLE.search(statement.shape) is not None
        or not _MYSQL_FUNCTIONS.issuperset(calls)
    )


# What stands before "(" and leaves nothing: words of the grammar, types, and common functions of
# MySQL and MariaDB. A function that is missing here costs a round trip when it was used.
_MYSQL_FUNCTIONS = frozenset(
    """
    ALL AND ANY AS BETWEEN BY CASE DISTINCT ELSE END EXCEPT EXISTS FORCE FROM HAVING IGNORE IN INDEX
    INTERSECT INTERVAL IS JOIN KEY LATERAL LIKE NOT OF OFFSET LIMIT ON OR OVER PARTITION RECURSIVE
    RETURNING ROW SELECT SET SOME TABLE THEN UNION UPDATE USE USING VALUE VALUES WHEN WHERE WINDOW
    WITH XOR DIV MOD BINARY REGEXP RLIKE
    CHAR VARCHAR DECIMAL NUMERIC SIGNED UNSIGNED DATETIME TIME TIMESTAMP DATE JSON FLOAT DOUBLE
    ABS ACOS ASIN ATAN ATAN2 CEIL CEILING CONV COS COT CRC32 DEGREES EXP FLOOR GREATEST LEAST LN LOG
    LOG10 LOG2 PI POW POWER RADIANS RAND ROUND SIGN SIN SQRT TAN TRUNCATE
    ASCII BIN BIT_LENGTH CHARACTER_LENGTH CHAR_LENGTH CONCAT CONCAT_WS ELT EXPORT_SET FIELD
    FIND_IN_SET FORMAT FROM_BASE64 HEX INSERT INSTR LCASE LEFT LENGTH LOCATE LOWER LPAD LTRIM
    MAKE_SET MID OCT OCTET_LENGTH ORD POSITION QUOTE REGEXP_INSTR REGEXP_LIKE REGEXP_REPLACE
    REGEXP_SUBSTR REPEAT REPLACE REVERSE RIGHT RPAD RTRIM SOUNDEX SPACE STRCMP SUBSTR SUBSTRING
    SUBSTRING_INDEX TO_BASE64 TRIM UCASE UNHEX UPPER WEIGHT_STRING
    ADDDATE ADDTIME CONVERT_TZ CURDATE CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURTIME DATEDIFF
    DATE_ADD DATE_FORMAT DATE_SUB DAY DAYNAME DAYOFMONTH DAYOFWEEK DAYOFYEAR EXTRACT FROM_DAYS
    FROM_UNIXTIME GET_FORMAT HOUR LAST_DAY LOCALTIME LOCALTIMESTAMP MAKEDATE MAKETIME MICROSECOND
    MINUTE MONTH MONTHNAME NOW PERIOD_ADD PERIOD_DIFF QUARTER SECOND SEC_TO_TIME STR_TO_DATE SUBDATE
    SUBTIME SYSDATE TIMEDIFF TIMESTAMPADD TIMESTAMPDIFF TIME_FORMAT TIME_TO_SEC TO_DAYS TO_SECONDS
    UNIX_TIMESTAMP UTC_DATE UTC_TIME UTC_TIMESTAMP WEEK WEEKDAY WEEKOFYEAR YEAR YEARWEEK
    CAST COALESCE CONVERT IF IFNULL ISNULL NULLIF NVL NVL2 DECODE
    AVG BIT_AND BIT_OR BIT_XOR COUNT GROUP_CONCAT MAX MEDIAN MIN STD STDDEV STDDEV_POP STDDEV_SAMP
    SUM VARIANCE VAR_POP VAR_SAMP ANY_VALUE GROUPING
    CUME_DIST DENSE_RANK FIRST_VALUE LAG LAST_VALUE LEAD NTH_VALUE NTILE PERCENT_RANK RANK
    ROW_NUMBER
    JSON_ARRAY JSON_ARRAYAGG JSON_ARRAY_APPEND JSON_ARRAY_INSERT JSON_CONTAINS JSON_CONTAINS_PATH
    JSON_DEPTH JSON_EXISTS JSON_EXTRACT JSON_INSERT JSON_KEYS JSON_LENGTH JSON_MERGE_PATCH
    JSON_MERGE_PRESERVE JSON_OBJECT JSON_OBJECTAGG JSON_OVERLAPS JSON_PRETTY JSON_QUERY JSON_QUOTE
    JSON_REMOVE JSON_REPLACE JSON_SEARCH JSON_SET JSON_TABLE JSON_TYPE JSON_UNQUOTE JSON_VALID
    JSON_VALUE
    BIN_TO_UUID UUID UUID_SHORT UUID_TO_BIN IS_UUID MD5 SHA SHA1 SHA2 INET_ATON INET_NTOA INET6_ATON
    INET6_NTOA COMPRESS UNCOMPRESS AES_ENCRYPT AES_DECRYPT
    DATABASE SCHEMA USER CURRENT_USER SESSION_USER SYSTEM_USER CURRENT_ROLE VERSION CONNECTION_ID
    CHARSET COLLATION FOUND_ROWS ROW_COUNT IS_FREE_LOCK IS_USED_LOCK SLEEP BENCHMARK DEFAULT
    """.split()  # noqa: SIM905 - words are easier to read than quotes
)
