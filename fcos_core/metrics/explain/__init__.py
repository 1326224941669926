"""Why a detector scores what it scores: numbers that explain COCO's.

A block of images gives counts that add up; ``describe`` turns those of all blocks into plain
numbers for JSON, floats in 0..1 and -1 where undefined:

* ``errors`` and ``gains``: the error of each false positive, and what correcting it gains;
* ``curves``: precision over recall;
* ``thresholds``: precision, recall and F1 over score, and the best threshold of each category;
* ``calibration``: whether scores are the shares of detections that are right;
* ``confusion``: which categories are confused;
* ``recall``: average recall by number of detections and size of objects;
* ``areas``: average precision and recall by size of objects, also per category.

All but ``curves``, ``recall`` and ``areas``, which report COCO's curves, are about objects of any
size (COCO's first area range) and an IoU of 0.5. All use only the detections that COCO uses: the
100 best of each image and category. ``settings`` are always those of the matching.
"""
