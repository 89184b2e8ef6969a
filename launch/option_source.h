/* option_source.h: what the environment and a serving.properties say about options.
 *
 * Rank 0 alone looks, and tells the others: neither its environment nor its files need be those of their nodes.
 */
#ifndef TSR_LAUNCH_OPTION_SOURCE_H
#define TSR_LAUNCH_OPTION_SOURCE_H

#include "launch/options.h"
#include "parallel/world.h"

/* Completes what the command line says (tsr_options_parse) by variables and file. A relative model_id of a file is
 * relative to the file's folder, if it is there; a file of --config that names no model stands for the one it lies
 * beside. A folder without config.json is that of the model which its serving.properties names, whoever named the
 * folder: /opt/ml/model/serving.properties with option.model_id. Collective. TSR_ERR_USAGE, TSR_ERR_FORMAT, TSR_ERR_IO, each naming the variable, or file and line. */
tsr_status tsr_options_complete(tsr_options *o, tsr_world *world);

/* Refuses what no table row can: values that contradict one another, the job, or what there is code for. Makes the
 * model's folder of --model and --revision. Local; ranks that see other files may differ. */
tsr_status tsr_options_check(tsr_options *o, const tsr_world *world);

#endif
