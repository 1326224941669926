"""Why a detector scores what it scores: numbers that explain COCO's.

A block of images gives what adds up; all blocks together are described in plain numbers for JSON:

* ``errors`` and ``gains``: what is wrong with each false positive, and what mending it gives back;
* ``curves``: precision over recall;
* ``thresholds``: precision, recall and F1 over score, and the best threshold of each category;
* ``calibration``: whether scores are the shares of detections that are right;
* ``confusion``: which categories are taken for which;
* ``recall``: average recall by number of detections and size of objects;
* ``areas``: average precision and recall by size of objects, of each category too.

All but ``curves``, ``recall`` and ``areas``, which say what COCO's curves hold, speak of objects of
any size (COCO's first area range) and an IoU of 0.5. All speak of the detections that COCO itself
looks at: the 100 best of each image and category.
"""
