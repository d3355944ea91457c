'use strict';

// The server writes moments in UTC; who hovers over one sees it as it is written where they are.
for (const time of document.querySelectorAll('time[title]')) time.title = Format.moment(time.dateTime);
