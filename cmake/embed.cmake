# cmake -DIN=FILE -DOUT=FILE.c -DNAME=NAME -P embed.cmake: a file as `const unsigned char NAME[]` and `NAME_bytes`.
file(READ ${IN} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR bytes "${digits} / 2")
string(REGEX REPLACE "(..)" "0x\\1," values "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" values "${values}")
get_filename_component(file ${IN} NAME)
file(WRITE ${OUT} "/* ${file}, made at build time. */
extern const unsigned char ${NAME}[];
extern const unsigned long ${NAME}_bytes;
const unsigned char ${NAME}[] = {
${values}
};
const unsigned long ${NAME}_bytes = ${bytes};
")
