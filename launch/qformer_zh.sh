#!/usr/bin/env bash
# Chinese for a Q-Former that has BERT's vocabulary: what the bilingual recipes of stage 0 start from.
#
#   launch/qformer_zh.sh bert-base-uncased/vocab.txt weights/bert_base weights/bert_zh
#
# Writes qformer_tokenizer beside OUT (English ids kept, [DEC] behind them, then 8,603 characters of
# GB 2312 and Big5), and as OUT the checkpoint with a row for each: a BERT, a BLIP-2 or an InstructBLIP
# that `zv convert` made with the tokenizer. Nothing is overwritten.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"
help "$0" "$@"

if [ $# != 3 ]; then
  fail "expected VOCAB CHECKPOINT OUT, not $# words" \
    "launch/qformer_zh.sh bert-base-uncased/vocab.txt weights/bert_base weights/bert_zh"
fi
tokenizer=$(dirname "$3")/qformer_tokenizer
if [ -e "$tokenizer/vocab.txt" ]; then
  echo "$tokenizer is there and is used"
else
  zv tokenizer union "$1" "$tokenizer" --characters=gb2312,big5
fi
zv tokenizer grow "$2" "$3" --qformer_tokenizer="$tokenizer"
